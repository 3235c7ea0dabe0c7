"""Is a circuit complete, and is it minimal? The criteria of Wang et al.

Wang et al. 2023, "Interpretability in the Wild" (arXiv:2211.00593), section 4. With F
the metric, M the model and C the circuit, a circuit is complete if knocking the same
nodes K out of both leaves both the same, `|F(C - K) - F(M - K)|` small for every K in
C: then nothing outside does what nodes of it do. It is minimal if each node v counts:
for some K, `|F(C - (K ∪ {v})) - F(C - K)|` is large.
"""

from collections.abc import Iterable, Sequence
import dataclasses
import itertools

from jaxtyping import Float
import numpy as np

from interp_jax.circuits.discovery import Discovery
from interp_jax.circuits.edges import Circuit
from interp_jax.circuits.graph import INPUT, LOGITS
from interp_jax.circuits.selection import edges_from

Nodes = frozenset[str]


@dataclasses.dataclass(frozen=True)
class Completeness:
  """The metric with nodes knocked out of the circuit, and out of the model.

  Attributes:
    subsets: The nodes that were knocked out.
    circuit: `F(C - K)` of each.
    model: `F(M - K)` of each.
  """

  subsets: tuple[Nodes, ...]
  circuit: Float[np.ndarray, ' n']
  model: Float[np.ndarray, ' n']

  @property
  def incompleteness(self) -> Float[np.ndarray, ' n']:
    """`|F(C - K) - F(M - K)|` of each."""
    return np.abs(self.circuit - self.model)


@dataclasses.dataclass(frozen=True)
class Minimality:
  """How much each node of a circuit counts.

  Attributes:
    nodes: The nodes.
    subsets: For each the set K that showed it.
    scores: `|F(C - (K ∪ {v})) - F(C - K)|` of each.
  """

  nodes: tuple[str, ...]
  subsets: tuple[Nodes, ...]
  scores: Float[np.ndarray, ' n']


def completeness(
  discovery: Discovery,
  circuit: Circuit,
  subsets: Iterable[Iterable[str]],
  progress: bool = False,
) -> Completeness:
  """Knocks nodes out of the circuit and out of the model.

  Args:
    discovery: The model, the inputs, the ablation and the metric.
    circuit: The circuit.
    subsets: Sets of nodes: one of no node is the circuit's unfaithfulness; classes of
      nodes; `random_subsets`; what `greedy_subsets` finds.
    progress: Whether to show a progress bar.

  Returns:
    The metric of both for every set.
  """
  sets = tuple(frozenset(some) for some in subsets)
  graph = discovery.graph
  cut = [edges_from(graph, set(some)) for some in sets]
  masks = [circuit.edges & ~out for out in cut] + [graph.edges & ~out for out in cut]
  values = discovery.run(np.stack(masks), progress=progress)
  return Completeness(sets, values[: len(sets)], values[len(sets) :])


def random_subsets(
  circuit: Circuit, count: int, seed: int = 0, share: float = 0.5
) -> tuple[Nodes, ...]:
  """Sets of the circuit's nodes, each in a set with probability `share`."""
  nodes = inner_nodes(circuit)
  draws = np.random.default_rng(seed).random((count, len(nodes))) < share
  return tuple(frozenset(np.array(nodes)[draw].tolist()) for draw in draws)


def greedy_subsets(
  discovery: Discovery,
  circuit: Circuit,
  size: int,
  *,
  candidates: int | None = None,
  seed: int = 0,
) -> tuple[Nodes, ...]:
  """Sets that are as bad for the circuit's completeness as a greedy search finds.

  Adds the node that makes `|F(C - K) - F(M - K)|` largest, again and again.

  Args:
    discovery: The model, the inputs, the ablation and the metric.
    circuit: The circuit.
    size: How large the largest set becomes.
    candidates: How many random nodes to choose from at each step; None for all. Several
      seeds then give several searches, as in the paper.
    seed: Of these draws.

  Returns:
    The set after each step.
  """
  rng = np.random.default_rng(seed)
  found: list[Nodes] = []
  chosen: Nodes = frozenset()
  for _ in range(min(size, len(inner_nodes(circuit)))):
    left = [node for node in inner_nodes(circuit) if node not in chosen]
    if candidates is not None and candidates < len(left):
      left = rng.choice(left, candidates, replace=False).tolist()
    worst = completeness(discovery, circuit, [chosen | {node} for node in left])
    chosen = worst.subsets[int(worst.incompleteness.argmax())]
    found.append(chosen)
  return tuple(found)


def minimality(
  discovery: Discovery, circuit: Circuit, *, size: int = 1, progress: bool = False
) -> Minimality:
  """For each node of the circuit, a set without which it counts, and how much.

  The set grows by the node that makes the score largest, as long as it does.

  Args:
    discovery: The model, the inputs, the ablation and the metric.
    circuit: The circuit.
    size: The largest set K; 0 asks what knocking out the node alone does.
    progress: Whether to show a progress bar of each step.

  Returns:
    The scores.
  """
  nodes = inner_nodes(circuit)
  best = {node: (frozenset(), -np.inf) for node in nodes}
  for grown in range(size + 1):
    trials = [
      (node, trial)
      for node in nodes
      if len(best[node][0]) == max(0, grown - 1)
      for trial in _grown(best[node][0], nodes, node, grown)
    ]
    scores = _changes(discovery, circuit, trials, progress)
    for (node, trial), score in zip(trials, scores, strict=True):
      if score > best[node][1]:
        best[node] = (trial, float(score))
  return Minimality(
    nodes,
    tuple(best[node][0] for node in nodes),
    np.array([best[node][1] for node in nodes]),
  )


def inner_nodes(circuit: Circuit) -> tuple[str, ...]:
  """The heads and MLPs of a circuit."""
  return tuple(node for node in circuit.nodes if node not in (INPUT, LOGITS))


def _grown(subset: Nodes, nodes: Sequence[str], node: str, size: int) -> list[Nodes]:
  if not size:
    return [frozenset()]
  return [subset | {other} for other in nodes if other != node and other not in subset]


def _changes(
  discovery: Discovery,
  circuit: Circuit,
  trials: Sequence[tuple[str, Nodes]],
  progress: bool,
) -> Float[np.ndarray, ' n']:
  """`|F(C - (K ∪ {v})) - F(C - K)|` of each pair of v and K."""
  if not trials:
    return np.zeros(0)
  pairs = [(subset, subset | {node}) for node, subset in trials]
  # Most sets come in several pairs; each is run once.
  sets = dict.fromkeys(itertools.chain.from_iterable(pairs))
  cut = [edges_from(discovery.graph, set(nodes)) for nodes in sets]
  values = discovery.run(circuit.edges & ~np.stack(cut), progress=progress)
  value = dict(zip(sets, values, strict=True))
  return np.array([abs(value[more] - value[less]) for less, more in pairs])
