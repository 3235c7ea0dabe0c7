"""Which heads does in-context learning need? Ablations of heads, judged by loss.

A head may look like an induction head and do nothing. The test of the claim is to
ablate it, and to ablate as many other heads of the same layers: only the first should
cost loss where the context helps (the second copy of repeated random tokens; late
positions of a text), and cost no more than the others where it cannot.
"""

from collections.abc import Sequence
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped
import numpy as np

from interp_jax import edits as edits_lib
from interp_jax.circuits.metrics import next_token_losses, region_losses
from interp_jax.circuits.worlds import reference_run, run_worlds
from interp_jax.core import Model, Tokens

Head = tuple[int, int]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AblateHeads:
  """Mask of heads `[L, H]` → the edit that ablates them.

  Attributes:
    value: What `z` becomes: 0, or a mean that broadcasts to `[L, B, T, H, K]`.
  """

  value: Any = 0.0

  def __call__(self, heads: Bool[Array | np.ndarray, 'L H']) -> edits_lib.Edits:
    return {'z': edits_lib.Replace(self.value, heads[:, None, None, :, None])}


@dataclasses.dataclass(frozen=True)
class AblationComparison:
  """Loss by region without ablation, without the chosen heads, without other heads.

  Attributes:
    heads: The chosen heads, (layer, head).
    others: The heads of each control draw.
    intact: Loss (nats) of the intact model, `[R]`.
    ablated: Loss with the chosen heads ablated, `[R]`.
    controls: Loss with each draw of others ablated, `[draws, R]`.
  """

  heads: tuple[Head, ...]
  others: tuple[tuple[Head, ...], ...]
  intact: np.ndarray
  ablated: np.ndarray
  controls: np.ndarray

  @property
  def cost(self) -> np.ndarray:
    """Loss that ablating the chosen heads costs, `[R]`."""
    return self.ablated - self.intact

  @property
  def control_costs(self) -> np.ndarray:
    """Loss that ablating each draw of others costs, `[draws, R]`."""
    return self.controls - self.intact


def compare_ablations(
  model: Model,
  params: Any,
  tokens: Tokens,
  regions: Shaped[Array | np.ndarray, 'R B T-1'],
  heads: Sequence[Head],
  *,
  shape: tuple[int, int],
  value: Any = 0.0,
  draws: int = 10,
  seed: int = 0,
  chunk: int | None = None,
  progress: bool = True,
) -> AblationComparison:
  """Ablates chosen heads, and random other heads of the same layers.

  Args:
    model: The model.
    params: Its parameters.
    tokens: Token ids.
    regions: The weight of each predicted token in each region's mean loss, e.g. one
      row for the first copy of repeated tokens and one for the second.
    heads: The chosen heads, (layer, head).
    shape: Layers and heads of the model.
    value: What `z` becomes: 0 (zero ablation), or a mean, see `mean_z`.
    draws: How many sets of other heads to ablate; all there are, if they are fewer.
    seed: Of the draws.
    chunk: The most ablations to run at once; None for as many as fit in memory.
    progress: Whether to show a progress bar.

  Returns:
    The losses.

  Raises:
    ValueError: if a layer has fewer other heads than chosen ones, or a region is empty.
  """
  heads = tuple((int(layer), int(head)) for layer, head in heads)
  others = draw_others(heads, shape, draws, seed)
  masks = np.stack([head_mask(some, shape) for some in (heads, *others)])
  metric = region_losses(tokens, regions)
  intact, acts = reference_run(model, params, tokens, metric, ('resid_pre',))
  first = min(layer for layer, _ in heads)
  losses = run_worlds(
    model,
    params,
    tokens,
    AblateHeads(value),
    masks,
    metric,
    start_layers=np.full(len(masks), first),
    base_acts=acts,
    chunk=chunk,
    progress=progress,
  )
  return AblationComparison(heads, others, np.asarray(intact), losses[0], losses[1:])


def draw_others(
  heads: Sequence[Head], shape: tuple[int, int], draws: int, seed: int
) -> tuple[tuple[Head, ...], ...]:
  """Random sets of heads that are not the chosen ones, as many in each layer.

  Args:
    heads: The chosen heads, (layer, head).
    shape: Layers and heads of the model.
    draws: How many sets; all there are, if they are fewer.
    seed: Of the draws.

  Returns:
    The sets, all different.

  Raises:
    ValueError: if no head is chosen, a layer has fewer others than chosen ones, or a
      head does not exist.
  """
  if not heads:
    raise ValueError('No head is chosen; give at least one (layer, head).')
  mask = head_mask(heads, shape)
  layers = np.flatnonzero(mask.any(1))
  for layer in layers:
    if 2 * mask[layer].sum() > shape[1]:
      raise ValueError(
        f'{mask[layer].sum()} of the {shape[1]} heads of layer {layer} are chosen, so '
        'it has fewer others to compare with. Choose fewer.'
      )
  rng = np.random.default_rng(seed)
  there_are = math.prod(
    math.comb(int((~mask[layer]).sum()), int(mask[layer].sum())) for layer in layers
  )
  found: dict[tuple[Head, ...], None] = {}
  while len(found) < min(draws, there_are):
    found[_others(mask, layers, rng)] = None
  return tuple(found)


def _others(
  mask: np.ndarray, layers: np.ndarray, rng: np.random.Generator
) -> tuple[Head, ...]:
  """One draw."""
  picked = []
  for layer in layers:
    free, count = np.flatnonzero(~mask[layer]), int(mask[layer].sum())
    some = np.sort(rng.choice(free, count, replace=False))
    picked += [(int(layer), int(head)) for head in some]
  return tuple(picked)


def head_mask(heads: Sequence[Head], shape: tuple[int, int]) -> Bool[np.ndarray, 'L H']:
  """A mask that holds at the given heads.

  Raises:
    ValueError: if a head does not exist.
  """
  mask = np.zeros(shape, bool)
  for layer, head in heads:
    if not (0 <= layer < shape[0] and 0 <= head < shape[1]):
      raise ValueError(
        f'There is no head ({layer}, {head}): the model has {shape[0]} layers of '
        f'{shape[1]} heads, counted from 0.'
      )
    mask[layer, head] = True
  return mask


def mean_z(model: Model, params: Any, tokens: Tokens) -> Float[Array, 'L 1 1 H K']:
  """The mean of every head's `z` over a batch and its positions, for mean ablation."""
  return _mean_z(model, params, jnp.asarray(tokens))


def token_losses(
  model: Model,
  params: Any,
  tokens: Tokens,
  edits: Any = None,
  batch_size: int = 32,
) -> Float[np.ndarray, 'B T-1']:
  """Cross-entropy (nats) of every next token, under edits or not.

  Args:
    model: The model.
    params: Its parameters.
    tokens: Token ids.
    edits: Edits without a batch axis, or None.
    batch_size: Rows to run at once.

  Returns:
    The losses; entry `t` is that of predicting token `t + 1`.
  """
  tokens = np.asarray(tokens)
  out = []
  for first in range(0, len(tokens), batch_size):
    # The last batch is the last full one, so that one program serves all.
    begin = max(0, min(first, len(tokens) - batch_size))
    rows = jnp.asarray(tokens[begin : begin + batch_size])
    losses, _ = reference_run(model, params, rows, next_token_losses(rows), edits=edits)
    out.append(np.asarray(losses)[first - begin :])
  return np.concatenate(out)


def in_context_score(
  losses: Float[Array | np.ndarray, 'B N'],
  early: tuple[int, int],
  late: tuple[int, int],
) -> float:
  """Mean loss at late positions less that at early ones: negative where context helps.

  Olsson et al. 2022, "In-context Learning and Induction Heads", take the 500th token
  less the 50th.

  Args:
    losses: Loss of each next token.
    early: First and last-plus-one index of the early window.
    late: The same for the late window.

  Returns:
    The difference in nats.

  Raises:
    ValueError: if a window is empty or goes past the end.
  """
  for begin, end in (early, late):
    if not 0 <= begin < end <= losses.shape[1]:
      raise ValueError(
        f'The window ({begin}, {end}) does not lie in 0..{losses.shape[1]}.'
      )
  return float(losses[:, slice(*late)].mean() - losses[:, slice(*early)].mean())


def _mean_z_of(model, params, tokens):
  _, acts = model.apply({'params': params}, tokens)
  return acts['z'].mean((1, 2), keepdims=True)


_mean_z = jax.jit(_mean_z_of, static_argnums=0)
