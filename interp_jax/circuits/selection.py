"""Circuits from scores, and how well scores find a circuit that is known."""

import heapq

from jaxtyping import Bool, Shaped
import numpy as np

from interp_jax.circuits.agreement import mean_ranks
from interp_jax.circuits.edges import Circuit, EdgeScores
from interp_jax.circuits.graph import LOGITS, Graph
from interp_jax.core import unknown

SELECTIONS = ('top', 'greedy')


def select_circuit(
  scores: EdgeScores, edges: int, how: str = 'top', absolute: bool = True
) -> Circuit:
  """The circuit of so many edges, without those that lead nowhere.

  Args:
    scores: The scores of the edges.
    edges: How many edges to choose.
    how: 'top', those with the largest scores; 'greedy', from logits backwards, always
      the edge with the largest score among those into a node that is reached (Hanna et
      al. 2024, arXiv:2403.17806), so that fewer are wasted on dead ends.
    absolute: Whether size counts, or the signed score.

  Returns:
    The circuit; it has fewer edges than were chosen where some led nowhere.

  Raises:
    ValueError: if there is no such way to choose, or there are not so many edges.
  """
  if how not in SELECTIONS:
    raise ValueError(unknown('selection', how, SELECTIONS))
  if how == 'top':
    return scores.circuit(edges, absolute).pruned()
  return greedy_circuit(scores, edges, absolute).pruned()


def greedy_circuit(scores: EdgeScores, edges: int, absolute: bool = True) -> Circuit:
  """The greedy choice of `select_circuit`, with the edges that lead nowhere.

  Raises:
    ValueError: if there are not so many edges.
  """
  graph = scores.graph
  if not 0 <= edges <= graph.edges.sum():
    raise ValueError(
      f'greedy_circuit: edges={edges}; the graph has {graph.edges.sum()}.'
    )
  values = np.abs(scores.values) if absolute else scores.values
  chosen = np.zeros(graph.shape, bool)
  reached = {LOGITS}
  waiting: list[tuple[float, int, int]] = []

  def reach(node: str) -> None:
    for r in graph.inputs_of(node):
      for s in np.flatnonzero(graph.edges[r]):
        heapq.heappush(waiting, (-float(values[r, s]), r, int(s)))

  reach(LOGITS)
  for _ in range(edges):
    if not waiting:
      break
    _, r, s = heapq.heappop(waiting)
    chosen[r, s] = True
    if graph.senders[s] not in reached:
      reached.add(graph.senders[s])
      reach(graph.senders[s])
  return Circuit(graph, chosen, scores.values)


def roc_auc(
  scores: Shaped[np.ndarray, '*n'],
  truth: Bool[np.ndarray, '*n'],
  among: Bool[np.ndarray, '*n'] | None = None,
) -> float:
  """Area under the ROC curve: how often a true edge scores above a false one.

  Ties count half, so that scores that are all the same give 0.5.

  Args:
    scores: The scores; take absolute values first if size is what counts.
    truth: Which edges are true.
    among: Which entries are edges at all, e.g. `graph.edges`; None for all.

  Returns:
    The area, 0 to 1.

  Raises:
    ValueError: if all edges are true, or none, or a score is NaN.
  """
  among = np.ones(np.shape(truth), bool) if among is None else among
  values, true = np.asarray(scores)[among], np.asarray(truth)[among]
  positive, negative = int(true.sum()), int((~true).sum())
  if not positive or not negative:
    raise ValueError(
      f'roc_auc: {positive} true and {negative} false edges; it needs both.'
    )
  if np.isnan(values).any():
    raise ValueError(f'roc_auc: {np.isnan(values).sum()} scores are NaN.')
  wins = mean_ranks(values)[true].sum() - positive * (positive - 1) / 2
  return float(wins / (positive * negative))


def edges_from(graph: Graph, nodes: set[str]) -> Bool[np.ndarray, 'R S']:
  """The edges that leave the nodes: to ablate them is to knock the nodes out.

  Raises:
    ValueError: if a node does not exist or writes nothing.
  """
  for node in nodes - set(graph.senders):
    raise ValueError(unknown('node', node, graph.senders))
  return graph.edges & np.array([name in nodes for name in graph.senders])[None]
