"""Causal tracing with noise: where is the fact that the subject's noise destroys?

Meng et al. 2022, arXiv:2202.05262 (ROME), section 2.1. Three kinds of runs: clean;
corrupted, with Gaussian noise on the embeddings of the subject's tokens; and corrupted
with the clean hidden state restored at one layer and position. The metric of the last
less that of the corrupted run is the indirect effect, here averaged over several draws
of the noise.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int
import numpy as np

from interp_jax import edits as edits_lib
from interp_jax.circuits.arguments import as_arrays, as_pytree
from interp_jax.circuits.metrics import Metric, TokenMetric
from interp_jax.circuits.result import SweepResult
from interp_jax.circuits.sweep import sweep
from interp_jax.circuits.worlds import reference_run
from interp_jax.core import SITES, Model, Tokens


def causal_trace(
  model: Model,
  params: Any,
  tokens: Tokens,
  subject: Bool[Array | np.ndarray, 'B T'],
  site: str = 'resid_post',
  over: Sequence[str] = ('layer', 'position'),
  *,
  metric: Metric,
  window: int = 1,
  noise: float = 3.0,
  sigma: float | None = None,
  samples: int = 10,
  seed: int = 0,
  mask: Bool[Array | np.ndarray, 'B T'] | None = None,
  logit_positions: Sequence[int] | Int[Array | np.ndarray, '*b P'] | None = None,
  **options: Any,
) -> SweepResult:
  """Restores clean activations in runs whose subject is drowned in noise.

  Args:
    model: The model.
    params: Its parameters.
    tokens: The prompts.
    subject: True at the tokens of the subject, which get the noise.
    site: What is restored: 'resid_post', or 'mlp_out' and 'attn_out' in windows.
    over: The axes of the grid.
    metric: What to measure, as for a batch of `tokens`: in the paper the probability
      of the answer. What it returns is averaged over the samples.
    window: How many layers are restored together; the paper takes 10 of GPT-2 XL's 48
      for 'mlp_out' and 'attn_out'.
    noise: The deviation of the noise, in units of `sigma`.
    sigma: The deviation of embeddings; None for that of the subjects' tokens.
    samples: How many draws of noise.
    seed: Of the draws.
    mask: False at padding.
    logit_positions: The positions that the metric reads; None for all.
    **options: As for `sweep`: `at`, `chunk`, `mesh`, `workdir`, ...

  Returns:
    The metric with each state restored. `base` is the corrupted run's, `source` the
    clean run's; `values - base` is the average indirect effect, `source - base` the
    total effect.

  Raises:
    ValueError: if no token is the subject's, or arguments of `sweep` do not fit.
  """
  tokens, chosen = jnp.asarray(tokens), np.asarray(subject)
  if chosen.shape != tokens.shape or not chosen.any():
    raise ValueError(
      f'subject has shape {chosen.shape} with {int(chosen.sum())} tokens chosen; give '
      f'a mask of shape {tokens.shape} that holds at the tokens of the subjects.'
    )
  kwargs = as_arrays({'mask': mask, 'logit_positions': logit_positions})
  clean, acts = reference_run(model, params, tokens, metric, {'embed', site}, **kwargs)
  embed = np.asarray(acts['embed'])
  sigma = float(embed[chosen].std()) if sigma is None else sigma
  drawn = np.random.default_rng(seed).standard_normal((samples, *embed.shape))
  drawn = (noise * sigma * chosen[..., None] * drawn).astype(embed.dtype)
  if (positions := kwargs.get('logit_positions')) is not None and positions.ndim == 2:
    kwargs['logit_positions'] = jnp.tile(positions, (samples, 1))
  if 'mask' in kwargs:
    kwargs['mask'] = jnp.tile(kwargs['mask'], (samples, 1))
  axis = SITES[site].full_axes.index('B')
  copies = [samples if i == axis else 1 for i in range(acts[site].ndim)]
  result = sweep(
    model,
    params,
    jnp.tile(tokens, (samples, 1)),
    {site: jnp.tile(acts[site], copies)},
    site,
    over,
    metric=_over_samples(metric, samples),
    window=window,
    base_edits={'embed': edits_lib.Add(drawn.reshape(-1, *embed.shape[1:]))},
    **(kwargs | options),
  )
  return dataclasses.replace(result, source=np.asarray(clean))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _OverSamples:
  """The mean of a metric over samples, which stand one after the other in the batch."""

  metric: Any
  samples: int = dataclasses.field(metadata={'static': True})

  def __call__(self, logits: jax.Array, acts: Mapping[str, Any]) -> jax.Array:
    axes = {site: SITES[site].full_axes.index('B') for site in acts}
    split = {site: self._split(act, axes[site]) for site, act in acts.items()}
    each = jax.vmap(self.metric, (0, axes))(self._split(logits, 0), split)
    return each.mean(0)

  def _split(self, act: jax.Array, axis: int) -> jax.Array:
    shape = (*act.shape[:axis], self.samples, -1, *act.shape[axis + 1 :])
    return act.reshape(shape)


def _over_samples(metric: Metric, samples: int) -> Metric:
  if isinstance(metric, TokenMetric) and not metric.per_example:
    # A mean over examples is one over samples too, and reads only its tokens' logits.
    return dataclasses.replace(metric, tokens=jnp.tile(metric.tokens, (samples, 1)))
  return _OverSamples(as_pytree(metric), samples)
