"""What does the model lose without a circuit? Its edges ablated, and as many others.

That a circuit does as the model does says that it is enough. That the model fails
without it, and does not fail without as many other edges, says that it is needed.
"""

import dataclasses
from typing import Any

from jaxtyping import Array, Bool, Float, Shaped
import numpy as np

from interp_jax.circuits.edges import Circuit
from interp_jax.circuits.metrics import region_losses
from interp_jax.circuits.patches import graph_run, run_patches
from interp_jax.core import Decomposable, Tokens


@dataclasses.dataclass(frozen=True)
class EdgeAblation:
  """Loss by region of the whole model, without a circuit, and without other edges.

  Attributes:
    edges: How many edges were ablated.
    intact: Loss (nats) of the intact model, `[R]`.
    ablated: Loss with the circuit's edges ablated, `[R]`.
    controls: Loss with each draw of other edges ablated, `[draws, R]`.
  """

  edges: int
  intact: Float[np.ndarray, ' R']
  ablated: Float[np.ndarray, ' R']
  controls: Float[np.ndarray, 'draws R']


def ablate_edges(
  model: Decomposable,
  params: Any,
  tokens: Tokens,
  regions: Shaped[Array | np.ndarray, 'R B T-1'],
  circuit: Circuit,
  *,
  other: Any = None,
  draws: int = 10,
  seed: int = 0,
  progress: bool = False,
) -> EdgeAblation:
  """Ablates the edges of a circuit, and as many random edges that are not in it.

  Args:
    model: The model.
    params: Its parameters.
    tokens: The tokens.
    regions: The weight of each predicted token in each region's mean loss, e.g. one row
      for the first copy of repeated tokens and one for the second.
    circuit: The circuit.
    other: What ablated edges carry; broadcasts to `[S, B, T, D]`. None for what each
      sender writes on average, over rows and positions.
    draws: How many sets of other edges.
    seed: Of the draws.
    progress: Whether to show a progress bar.

  Returns:
    The losses.

  Raises:
    ValueError: if the circuit has no edge, or more than there are others.
  """
  masks = _draw_others(circuit, draws, np.random.default_rng(seed))
  base = graph_run(model, params, tokens)
  if other is None:
    other = base.senders.mean((1, 2), keepdims=True)
  patches = np.stack([np.zeros(circuit.graph.shape, bool), circuit.edges, *masks])
  metric = region_losses(tokens, regions)
  losses = run_patches(
    model, params, tokens, patches, other, metric, base=base, progress=progress
  )
  return EdgeAblation(len(circuit), losses[0], losses[1], losses[2:])


def _draw_others(
  circuit: Circuit, draws: int, rng: np.random.Generator
) -> list[Bool[np.ndarray, 'R S']]:
  """Random sets of edges outside of the circuit, as many as it has."""
  free = np.argwhere(circuit.graph.edges & ~circuit.edges)
  if not 0 < len(circuit) <= len(free):
    raise ValueError(
      f'ablate_edges: the circuit has {len(circuit)} edges and there are {len(free)} '
      'others to compare with. Give a circuit of at least one edge and at most half of '
      'all.'
    )
  masks = []
  for _ in range(draws):
    mask = np.zeros(circuit.graph.shape, bool)
    chosen = free[rng.choice(len(free), len(circuit), replace=False)]
    mask[tuple(chosen.T)] = True
    masks.append(mask)
  return masks
