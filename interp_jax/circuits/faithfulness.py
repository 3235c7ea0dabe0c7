"""Does a circuit do what the model does? At which size?

The faithfulness of a circuit C of the model N is `(m(C) - m(∅)) / (m(N) - m(∅))`, with
m(∅) the metric when every edge is ablated. MIB (Mueller et al. 2025, arXiv:2504.13151)
sums a method up by circuits of several sizes: CPR is the area under the faithfulness,
how well it finds what helps; CMD is the area between the faithfulness and 1, how well
it finds what does as the model does.
"""

from collections.abc import Sequence
import dataclasses

from jaxtyping import Float, Int
import numpy as np

from interp_jax.circuits.discovery import Discovery
from interp_jax.circuits.edges import Circuit, EdgeScores
from interp_jax.circuits.selection import select_circuit

# The sizes of MIB, as shares of all edges.
SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclasses.dataclass(frozen=True)
class FaithfulnessCurve:
  """The metric of circuits of rising size.

  Attributes:
    shares: The share of all edges that were chosen for each circuit.
    edges: How many edges each has, without those that lead nowhere.
    metric: The metric of each.
    clean: The metric of the whole model.
    ablated: The metric when every edge is ablated.
  """

  shares: Float[np.ndarray, ' n']
  edges: Int[np.ndarray, ' n']
  metric: Float[np.ndarray, ' n']
  clean: float
  ablated: float

  @property
  def faithfulness(self) -> Float[np.ndarray, ' n']:
    """`(m(C) - m(∅)) / (m(N) - m(∅))` of each."""
    return (self.metric - self.ablated) / (self.clean - self.ablated)

  @property
  def cpr(self) -> float:
    """MIB's integrated circuit performance ratio: higher is better."""
    return float(np.trapezoid(self.faithfulness, self.shares))

  @property
  def cmd(self) -> float:
    """MIB's integrated circuit-model distance: 0 is best."""
    return float(np.trapezoid(np.abs(1 - self.faithfulness), self.shares))


def faithfulness_curve(
  discovery: Discovery,
  scores: EdgeScores,
  shares: Sequence[float] = SHARES,
  *,
  how: str = 'top',
  absolute: bool = True,
  progress: bool = True,
) -> FaithfulnessCurve:
  """Circuits of several sizes, chosen by scores.

  Args:
    discovery: The model, the inputs, the ablation and the metric.
    scores: The scores of the edges.
    shares: The sizes, as shares of all edges, rising. A circuit has at least one edge.
    how: How circuits are chosen, see `select_circuit`.
    absolute: Whether the size of a score counts, or the signed score.
    progress: Whether to show a progress bar.

  Returns:
    The curve.

  Raises:
    ValueError: if a share is not in 0..1 or they do not rise, or ablating everything
      leaves the metric as it is, so that faithfulness is not defined.
  """
  sizes = np.asarray(shares, float)
  if not ((sizes > 0) & (sizes <= 1)).all() or not (np.diff(sizes) > 0).all():
    raise ValueError(f'faithfulness_curve: shares={shares}; give rising ones in 0..1.')
  total = int(discovery.graph.edges.sum())
  counts = np.maximum(1, np.round(sizes * total)).astype(int)
  chosen = [select_circuit(scores, int(count), how, absolute) for count in counts]
  metric, clean, ablated = _metrics(discovery, chosen, progress)
  lengths = np.array([len(circuit) for circuit in chosen])
  return FaithfulnessCurve(sizes, lengths, metric, clean, ablated)


def faithfulness(
  discovery: Discovery, circuits: Sequence[Circuit], progress: bool = False
) -> Float[np.ndarray, ' n']:
  """The faithfulness of each circuit: 1 does as the model, 0 as nothing.

  Args:
    discovery: The model, the inputs, the ablation and the metric.
    circuits: The circuits.
    progress: Whether to show a progress bar.

  Returns:
    `(m(C) - m(∅)) / (m(N) - m(∅))` of each.

  Raises:
    ValueError: if ablating everything leaves the metric as it is.
  """
  metric, clean, ablated = _metrics(discovery, circuits, progress)
  return (metric - ablated) / (clean - ablated)


def _metrics(
  discovery: Discovery, circuits: Sequence[Circuit], progress: bool
) -> tuple[Float[np.ndarray, ' n'], float, float]:
  graph = discovery.graph
  ends = [np.array(graph.edges), np.zeros(graph.shape, bool)]
  masks = np.stack([circuit.edges for circuit in circuits] + ends)
  values = discovery.run(masks, progress=progress)
  clean, ablated = float(values[-2]), float(values[-1])
  if np.isclose(clean, ablated, rtol=1e-6, atol=1e-7):  # But for rounding.
    raise ValueError(
      f'The metric is {clean:.4g} for the model and with every edge ablated; choose '
      'inputs, or an ablation, between which it differs.'
    )
  return values[:-2], clean, ablated
