"""What a model loses when a dictionary's output stands in for an activation.

The dictionary is spliced in at one site, of one layer or of several (`places`). The
loss is compared with that of ablating the same places, at the same positions, to zero
and to their mean:

    ce_recovered = (CE_ablated - CE_spliced) / (CE_ablated - CE_clean)
    kl_recovered = 1 - KL_spliced / KL_ablated

1 is a perfect dictionary, 0 is no better than the ablation. CE is the mean over all
predictions of next tokens, in nats; KL is the mean of KL(clean || edited) over the same
predictions. The mean ablation is the harder comparison, zero ablation the usual one:
a number without its ablation says nothing, so both are given.

Positions that hold `bos_id` are left clean in the spliced and in the ablated runs. A
first token is where attention rests, its activation has a norm a hundred times the
others', and a dictionary that fails there, or an ablation that breaks it, would
decide the score alone. Padding (`mask`) is neither spliced nor scored.
"""

from collections.abc import Iterable
import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import numpy as np

from interp_jax.core import Model
from interp_jax.dictionaries.places import Places

RUNS = ('clean', 'spliced', 'zero', 'mean')


@dataclasses.dataclass(frozen=True)
class Recovered:
  """Losses of the four runs, in nats per prediction.

  Attributes:
    tokens: Number of predictions.
    ce: Cross-entropy by run: `clean`, `spliced`, `zero`, `mean`.
    kl: KL from the clean run by run.
  """

  tokens: int
  ce: dict[str, float]
  kl: dict[str, float]

  def ce_recovered(self, ablation: str = 'zero') -> float:
    """`(CE_ablated - CE_spliced) / (CE_ablated - CE_clean)`.

    NaN where the ablation costs nothing: there is nothing to recover.

    Args:
      ablation: `'zero'` or `'mean'`.
    """
    damage = self.ce[ablation] - self.ce['clean']
    return (self.ce[ablation] - self.ce['spliced']) / damage if damage else math.nan

  def kl_recovered(self, ablation: str = 'zero') -> float:
    """`1 - KL_spliced / KL_ablated`; NaN where the ablation changes nothing.

    Args:
      ablation: `'zero'` or `'mean'`.
    """
    damage = self.kl[ablation]
    return 1 - self.kl['spliced'] / damage if damage else math.nan

  def to_dict(self) -> dict[str, float | int]:
    """All numbers by name; `ce_recovered` and `kl_recovered` are against zero."""
    return {
      'ce_recovered': self.ce_recovered('zero'),
      'ce_recovered_mean': self.ce_recovered('mean'),
      'kl_recovered': self.kl_recovered('zero'),
      'kl_recovered_mean': self.kl_recovered('mean'),
      **{f'ce_{run}': self.ce[run] for run in RUNS},
      **{f'kl_{run}': self.kl[run] for run in RUNS[1:]},
      'tokens': self.tokens,
    }


@functools.partial(jax.jit, static_argnames=('model', 'places'))
def _batch_sums(
  model: Any,
  params: Any,
  dictionary: Any,
  mean: Float[Array, '... D'],
  tokens: Int[Array, 'B T'],
  at: Bool[Array, 'B T'],
  mask: Bool[Array, 'B T'],
  places: Places,
) -> dict[str, Any]:
  """Sums over the predictions of a batch, for each run."""
  scored = mask[:, :-1] & mask[:, 1:]
  clean, clean_acts = None, None
  sums: dict[str, Any] = {'tokens': jnp.sum(scored)}
  for run in RUNS:
    if run == 'clean':
      edit = None
    elif run == 'spliced':
      edit = places.splice(dictionary, clean_acts, at)
    else:
      edit = places.ablate(mean if run == 'mean' else jnp.zeros_like(mean), at)
    logits, acts = model.apply({'params': params}, tokens, edit, mask=mask)
    log_probs = jax.nn.log_softmax(logits[:, :-1].astype(jnp.float32))
    if clean is None:
      clean, clean_acts = log_probs, acts
    ce = -jnp.take_along_axis(log_probs, tokens[:, 1:, None], -1)[..., 0]
    kl = jnp.sum(jnp.exp(clean) * (clean - log_probs), -1)
    sums[f'ce/{run}'] = jnp.sum(jnp.where(scored, ce, 0))
    sums[f'kl/{run}'] = jnp.sum(jnp.where(scored, kl, 0))
  return sums


def recovered(
  model: Model,
  params: Any,
  dictionary: Any,
  batches: Iterable[Any],
  *,
  site: str,
  layer: int | tuple[int, ...],
  layers: int,
  mean: Float[Array | np.ndarray, '... D'],
  write_site: str | None = None,
  write_layer: int | tuple[int, ...] | None = None,
  bos_id: int | None = None,
) -> Recovered:
  """Splices a dictionary into a model and measures the loss, streamed over batches.

  Args:
    model: The model.
    params: Its parameters.
    dictionary: A callable pytree, activation `[..., D]` to its stand-in, or
      `[..., S, D]` where S layers are read or replaced.
    batches: Tokens `[B, T]`, or pairs of tokens and a mask `[B, T]` that is False at
      padding. How they are split changes nothing beyond rounding.
    site: Where it reads: a site inside the layers with axes `[L, B, T, D]`.
    layer: The layer that it reads; or several, for a crosscoder.
    layers: How many layers the model has.
    mean: The mean activation where its output goes, e.g. `reader.statistics().mean`:
      `[D]`, or `[S, D]` for several layers.
    write_site: Which site its output replaces, for a transcoder; None for `site`.
    write_layer: The layer or layers of that; None for `layer`.
    bos_id: The token whose positions are left clean; None if there is none.

  Returns:
    The losses.

  Raises:
    ValueError: if a layer does not exist, the output goes to a layer before the input,
      `mean` is not of the places that are replaced, or there is nothing to predict.
  """
  places = Places(
    site=site,
    layer=layer,
    write_site=site if write_site is None else write_site,
    write_layer=layer if write_layer is None else write_layer,
    layers=layers,
  )
  mean = jnp.asarray(mean, jnp.float32)
  written = places.write_layer
  expected = () if isinstance(written, int) else (len(written),)
  if mean.shape[:-1] != expected:
    raise ValueError(
      f'mean is of shape {mean.shape} and the output replaces layer {written}: give '
      f'the mean activation of each, {[*expected, "D"]}.'
    )
  total: dict[str, float] = {}
  for batch in batches:
    tokens, mask = batch if isinstance(batch, tuple) else (batch, None)
    tokens = jnp.asarray(tokens, jnp.int32)
    mask = jnp.ones(tokens.shape, bool) if mask is None else jnp.asarray(mask)
    at = mask if bos_id is None else mask & (tokens != bos_id)
    sums = _batch_sums(model, params, dictionary, mean, tokens, at, mask, places)
    for name, value in jax.device_get(sums).items():
      total[name] = total.get(name, 0.0) + float(value)
  count = total.get('tokens', 0.0)
  if not count:
    raise ValueError(
      'recovered: no batch has two valid tokens in a row, so there is nothing to '
      'predict. Check the batches and their masks.'
    )
  ce, kl = (
    {run: total[f'{kind}/{run}'] / count for run in RUNS} for kind in ('ce', 'kl')
  )
  return Recovered(int(count), ce, kl)
