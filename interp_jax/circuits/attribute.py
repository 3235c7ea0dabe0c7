"""Edge attribution for a question, with as many steps as it needs.

Where attention is nearly one-hot and neurons are far from their kinks, as in compiled
models and in confident trained ones, the gradient at the clean run is nearly 0 though
patching changes everything: EAP sees nothing. What happens on the way from the
corrupted values to the clean ones happens in narrow places, so the mean gradient on the
way (EAP-IG) must be taken at enough points to meet them. How many are enough, the
scores say themselves: those of all edges from a group of nodes that are moved together
must sum to what moving them does (completeness: Sundararajan et al. 2017,
arXiv:1703.01365), which is measured.
"""

from jaxtyping import Bool, Float
import numpy as np

from interp_jax.circuits.discovery import Discovery
from interp_jax.circuits.eap import edge_attribution
from interp_jax.circuits.edges import EdgeScores
from interp_jax.circuits.graph import Graph
from interp_jax.circuits.metrics import Metric

# Points of one compiled call, and the most in all.
POINTS, MOST_POINTS = 16, 512
_GOLDEN = (5**0.5 - 1) / 2


def attribute_edges(
  discovery: Discovery,
  method: str | None = None,
  *,
  steps: int | None = None,
  tolerance: float = 0.05,
  metric: Metric | None = None,
) -> EdgeScores:
  """Estimates what ablating each edge alone does to the metric.

  Args:
    discovery: The model, the inputs, the ablation and the metric.
    method: See `edge_attribution`. None for 'eap-ig-inputs', whose runs lie between the
      corrupted and the clean inputs, where there are corrupted inputs, else
      'eap-ig-activations', which moves the values of one group of nodes at a time.
    steps: Number of steps. None for as many as completeness needs: `POINTS`, and twice
      as many again and again up to `MOST_POINTS`, until sums of scores are right and
      scores have stopped to change.
    tolerance: By how much each may be wrong, as a share: sums of the largest measured
      effect, changes of the scores of the sum of all.
    metric: What to attribute; None for the metric of the question. The gradient of a
      divergence from the clean run, which that is if no other was given, is 0 at the
      clean run itself, so 'eap' needs another: a logit difference, say.

  Returns:
    The scores; rank edges by their size.

  Raises:
    ValueError: as `edge_attribution`.
  """
  if method is None:
    method = 'eap-ig-activations' if discovery.corrupted is None else 'eap-ig-inputs'
  metric = discovery.metric if metric is None else metric

  def scores(rule: str | Float[np.ndarray, ' n'], count: int = 1) -> EdgeScores:
    return edge_attribution(
      discovery.model,
      discovery.params,
      discovery.tokens,
      discovery.other if discovery.corrupted is None else discovery.corrupted,
      metric,
      method=method,
      steps=count,
      rule=rule,
      **discovery.kwargs,
    )

  if steps is not None or '-ig-' not in method:
    return scores('midpoint', steps or 1)
  groups = _groups(discovery.graph, method)
  effects = _effects(discovery, groups, metric)
  found = scores(_points(0)).values
  count = 1
  while count * POINTS < MOST_POINTS:
    more = [scores(_points(i)).values for i in range(count, 2 * count)]
    before, found = found, (found + np.mean(more, 0)) / 2
    count *= 2
    sums = np.array([found[group].sum() for group in groups])
    wrong = np.abs(sums - effects).max() / (np.abs(effects).max() or 1.0)
    change = np.abs(found - before).sum() / (np.abs(found).sum() or 1.0)
    if max(wrong, change) <= tolerance:
      break
  return EdgeScores(discovery.graph, found)


def _points(call: int) -> Float[np.ndarray, ' n']:
  """Points that fill 0..1 evenly however many calls there are, never the same."""
  return (0.5 + _GOLDEN * np.arange(call * POINTS, (call + 1) * POINTS)) % 1


def _groups(graph: Graph, method: str) -> list[Bool[np.ndarray, 'R S']]:
  """The edges from senders that are moved together."""
  groups = graph.sender_groups
  moved = (0,) if method == 'eap-ig-inputs' else np.unique(groups)
  return [graph.edges & (groups == group)[None] for group in moved]


def _effects(
  discovery: Discovery, groups: list[Bool[np.ndarray, 'R S']], metric: Metric
) -> Float[np.ndarray, ' n']:
  """What ablating all edges of each group does to the metric."""
  edges = discovery.graph.edges
  values = discovery.run(np.stack([edges, *(edges & ~g for g in groups)]), metric)
  return values[1:] - values[0]
