"""ACDC: edges are taken away one by one, output first, while that does no harm.

Conmy et al. 2023, "Towards Automated Circuit Discovery for Mechanistic
Interpretability" (arXiv:2304.14997), algorithm 1. Each decision depends on all before
it, so the algorithm is sequential; here it runs in batches that bet on the decisions.
World j of a batch has the edges removed that the bet removes before edge j, and edge
j. Up to the first edge where the bet is wrong, and at this one, the worlds are those of
the sequential algorithm, so its decisions are taken; the rest of the batch is thrown
away. As edges are removed from late layers to early ones, a batch restarts at the layer
that it has come to.
"""

from collections.abc import Mapping, Sequence
import dataclasses

from jaxtyping import Bool, Float, Int
import numpy as np
import tqdm

from interp_jax.circuits.discovery import Discovery
from interp_jax.circuits.edges import Circuit, EdgeScores
from interp_jax.circuits.graph import LOGITS, QKV, Graph
from interp_jax.circuits.patches import chunk_length, patch_bytes

# More bets at once are lost more often than they save.
MOST_BETS = 64


@dataclasses.dataclass(frozen=True)
class Acdc:
  """What ACDC found.

  Attributes:
    threshold: The loss that removing an edge may add.
    circuit: The edges that stay.
    loss: The loss of the circuit.
    increase: What removing each edge added when it was tried, or would have added;
      NaN where there is no edge.
    runs: How many runs of the model it took; as many as there are edges, without bets.
  """

  threshold: float
  circuit: Circuit
  loss: float
  increase: Float[np.ndarray, 'R S']
  runs: int


def acdc(
  discovery: Discovery,
  threshold: float,
  *,
  guess: Circuit | None = None,
  bets: int | None = None,
  progress: bool = True,
) -> Acdc:
  """Removes every edge whose removal adds less than the threshold to the loss.

  Args:
    discovery: The model, the inputs, the ablation and the loss.
    threshold: `τ`, in units of the loss (nats for the default, a KL divergence). It
      should be larger than rounding errors of the loss: an edge that does nothing is
      removed because 0 < τ.
    guess: A circuit to bet on, e.g. that of another threshold; None bets that all edges
      go. It changes how long the search takes, not what it finds.
    bets: Decisions to bet on at once; None for as many as fit in memory, at most
      `MOST_BETS`. 1 is the sequential algorithm.
    progress: Whether to show a progress bar.

  Returns:
    The circuit and how it was found.

  Raises:
    ValueError: if the threshold is not positive.
  """
  if not threshold > 0:
    raise ValueError(
      f'acdc: threshold={threshold} must be positive: an edge that does nothing adds 0.'
    )
  graph = discovery.graph
  order = edge_order(graph)
  each = patch_bytes(graph, discovery.base)
  bets = chunk_length(min(len(order), MOST_BETS), bets, each)
  search = _Search(discovery, threshold, order, bets)
  if guess is not None:
    search.goes = ~guess.edges[tuple(order.T)]
  with tqdm.tqdm(total=len(order), unit='edge', disable=not progress) as bar:
    while search.done < len(order):
      before = search.done
      search.step()
      bar.update(search.done - before)
      bar.set_postfix(kept=int(search.circuit.sum()) - len(order) + search.done)
  circuit = Circuit(graph, search.circuit)
  return Acdc(threshold, circuit, search.loss, search.increase, search.runs)


def acdc_sweep(
  discovery: Discovery,
  thresholds: Sequence[float] | Float[np.ndarray, ' n'],
  *,
  bets: int | None = None,
  progress: bool = True,
) -> dict[float, Acdc]:
  """ACDC at several thresholds, from the highest to the lowest.

  Each bets on what the one before has found.

  Args:
    discovery: The model, the inputs, the ablation and the loss.
    thresholds: The thresholds.
    bets: As for `acdc`.
    progress: Whether to show a progress bar of each.

  Returns:
    Threshold → what was found, highest first.
  """
  found: dict[float, Acdc] = {}
  guess = None
  for threshold in sorted(map(float, thresholds), reverse=True):
    found[threshold] = acdc(
      discovery, threshold, guess=guess, bets=bets, progress=progress
    )
    guess = found[threshold].circuit
  return found


def make_thresholds(
  discovery: Discovery, count: int = 8, lowest: float = 1e-5
) -> Float[np.ndarray, ' count']:
  """Thresholds spaced evenly in the logarithm, highest first.

  Args:
    discovery: The model, the inputs, the ablation and the loss.
    count: How many.
    lowest: The lowest, as a share of the loss with every edge ablated, from which they
      start. In float32 the loss is known to some 1e-6 of that.

  Returns:
    The thresholds.
  """
  nothing = np.zeros((1, *discovery.graph.shape), bool)
  full = float(discovery.run(nothing, discovery.loss)[0])
  return full * np.geomspace(1, lowest, count)


def threshold_scores(found: Mapping[float, Circuit]) -> EdgeScores:
  """The highest threshold at which each edge stayed; 0 for those that never did.

  Args:
    found: Threshold → the circuit that ACDC found at it.

  Returns:
    A score for each edge, to rank them by.
  """
  graph = next(iter(found.values())).graph
  values = [threshold * circuit.edges for threshold, circuit in found.items()]
  return EdgeScores(graph, np.max(values, axis=0))


def edge_order(graph: Graph) -> Int[np.ndarray, 'N 2']:
  """The edges, `(receiver, sender)`, in the order in which ACDC tries them.

  Receivers in reverse topological order: logits, then layer by layer backwards the MLP
  and the heads, last head first, its queries, keys and values. Of each, the senders
  from the latest to the input.
  """
  names = [LOGITS]
  for layer in reversed(range(graph.layers)):
    names += [] if graph.attn_only else [f'm{layer}']
    for head in reversed(range(graph.heads)):
      names += [f'a{layer}.h{head}<{part}>' for part in QKV]
  receivers = [graph.receiver(name) for name in names]
  senders = range(len(graph.senders))[::-1]
  return np.array([(r, s) for r in receivers for s in senders if graph.edges[r, s]])


class _Search:
  """The state of the search: what is removed, and what is bet on."""

  def __init__(
    self,
    discovery: Discovery,
    threshold: float,
    order: Int[np.ndarray, 'N 2'],
    bets: int,
  ):
    self.goes = np.ones(len(order), bool)
    self.done = 0
    self.circuit = np.array(discovery.graph.edges)
    self.increase = np.full(discovery.graph.shape, np.nan)
    self.runs = 0
    self._discovery = discovery
    self._threshold = threshold
    self._order = order
    self._bets = bets
    self._doubt = False
    self.loss = float(self._losses([self.circuit])[0])

  def step(self) -> None:
    """Takes decisions up to the first that the bet has wrong, or the batch's end."""
    here = slice(self.done, self.done + self._bets)
    if self._doubt:  # What each edge would do alone is a better bet.
      alone = self._losses([self._without([i]) for i in self._range(here)])
      self.goes[here] = alone - self.loss < self._threshold
    trials = []
    for i in self._range(here):
      before = [j for j in self._range(here) if j < i and self.goes[j]]
      trials.append(self._without([*before, i]))
    losses = self._losses(trials)
    self._doubt = False
    for i, loss in zip(self._range(here), losses, strict=True):
      self._decide(i, float(loss))
      if self._doubt:
        return

  def _decide(self, i: int, loss: float) -> None:
    edge = tuple(self._order[i])
    self.increase[edge] = loss - self.loss
    goes = bool(self.increase[edge] < self._threshold)
    if goes:
      self.circuit[edge] = False
      self.loss = loss
    self.done = i + 1
    self._doubt = goes != self.goes[i]

  def _range(self, here: slice) -> range:
    return range(*here.indices(len(self._order)))

  def _without(self, places: Sequence[int]) -> Bool[np.ndarray, 'R S']:
    circuit = self.circuit.copy()
    circuit[tuple(self._order[list(places)].T)] = False
    return circuit

  def _losses(self, circuits: list[np.ndarray]) -> Float[np.ndarray, ' W']:
    """Of so many circuits always, that one program serves all."""
    padded = circuits + circuits[-1:] * (self._bets - len(circuits))
    self.runs += self._bets
    losses = self._discovery.run(
      np.stack(padded), self._discovery.loss, chunk=self._bets
    )
    return losses[: len(circuits)]
