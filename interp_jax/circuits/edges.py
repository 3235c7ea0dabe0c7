"""Labelled results over the edges of a graph: scores, and circuits chosen by them."""

import dataclasses
import os

from jaxtyping import Bool, Float
import numpy as np

from interp_jax.circuits.graph import Graph, node_of
from interp_jax.circuits.graph_files import read_graph, write_graph


@dataclasses.dataclass(frozen=True)
class EdgeScores:
  """One number per edge: how much the metric changes when the edge is corrupted.

  Attributes:
    graph: The graph.
    values: The scores, `[R, S]`; zero where there is no edge.
  """

  graph: Graph
  values: Float[np.ndarray, 'R S']

  def __post_init__(self):
    """Checks the shape."""
    if np.shape(self.values) != self.graph.shape:
      raise ValueError(
        f'EdgeScores: values have shape {np.shape(self.values)}; the graph has '
        f'[receivers, senders] = {self.graph.shape}.'
      )

  def __getitem__(self, edge: str) -> float:
    """The score of an edge by its name, e.g. `scores['m0->a1.h3<q>']`."""
    return float(self.values[self.graph.edge(edge)])

  @property
  def flat(self) -> Float[np.ndarray, 'edges']:
    """The scores of the edges alone, in the order of `graph.edge_names`."""
    return self.values[self.graph.edges]

  def top(self, k: int) -> list[tuple[str, float]]:
    """The k edges with the largest scores in absolute value, and their scores."""
    order = np.argsort(-np.abs(self.flat), kind='stable')[:k]
    return [(self.graph.edge_names[i], float(self.flat[i])) for i in order]

  def circuit(self, edges: int, absolute: bool = True) -> 'Circuit':
    """The circuit of so many edges with the largest scores.

    Args:
      edges: How many.
      absolute: Whether size counts, or the signed score.

    Raises:
      ValueError: if there are not so many edges.
    """
    if not 0 <= edges <= self.flat.size:
      raise ValueError(
        f'A circuit of {edges} edges: the graph has {self.flat.size}; give 0 to that.'
      )
    flat = np.abs(self.flat) if absolute else self.flat
    return self._chosen(np.argsort(-flat, kind='stable')[:edges])

  def above(self, threshold: float | int, absolute: bool = True) -> 'Circuit':
    """The circuit of the edges whose scores are at least a threshold.

    Args:
      threshold: The least score.
      absolute: Whether size counts, or the signed score.
    """
    flat = np.abs(self.flat) if absolute else self.flat
    return self._chosen(np.flatnonzero(flat >= threshold))

  def save(self, path: str | os.PathLike) -> None:
    """Writes the JSON that EAP-IG and MIB read: a score for every edge, none chosen."""
    write_graph(path, self.graph, np.zeros(self.graph.shape, bool), self.values)

  @classmethod
  def load(cls, path: str | os.PathLike) -> 'EdgeScores':
    """Reads what `save`, EAP-IG or MIB wrote.

    Raises:
      ValueError: if the file is no such JSON, or its edges have no scores.
    """
    file = read_graph(path)
    if file.scores is None:
      raise ValueError(
        f'{os.fspath(path)}: the edges have no scores, only membership; read it with '
        'Circuit.load.'
      )
    return cls(file.graph, file.scores)

  def _chosen(self, places: np.ndarray) -> 'Circuit':
    mask = np.zeros(self.graph.shape, bool)
    mask[tuple(np.argwhere(self.graph.edges)[places].T)] = True
    return Circuit(self.graph, mask, self.values)


@dataclasses.dataclass(frozen=True)
class Circuit:
  """Some edges of a graph: those that stay when all others are corrupted.

  Attributes:
    graph: The graph.
    edges: Whether each edge is in the circuit, `[R, S]`.
    scores: The scores that it was chosen by, `[R, S]`, or None.
  """

  graph: Graph
  edges: Bool[np.ndarray, 'R S']
  scores: Float[np.ndarray, 'R S'] | None = None

  def __post_init__(self):
    """Checks that what is chosen are edges."""
    if np.shape(self.edges) != self.graph.shape:
      raise ValueError(
        f'Circuit: edges have shape {np.shape(self.edges)}; the graph has [receivers, '
        f'senders] = {self.graph.shape}.'
      )
    if (self.edges & ~self.graph.edges).any():
      r, s = np.argwhere(self.edges & ~self.graph.edges)[0]
      raise ValueError(
        f'Circuit: there is no edge {self.graph.senders[s]}->{self.graph.receivers[r]}.'
      )

  def __len__(self) -> int:
    return int(self.edges.sum())

  @property
  def names(self) -> tuple[str, ...]:
    """The names of its edges."""
    graph = self.graph
    return tuple(
      f'{graph.senders[s]}->{graph.receivers[r]}' for r, s in np.argwhere(self.edges)
    )

  @property
  def nodes(self) -> tuple[str, ...]:
    """The nodes that its edges come from or go to."""
    graph = self.graph
    used = {graph.senders[s] for s in np.flatnonzero(self.edges.any(0))}
    used |= {node_of(graph.receivers[r]) for r in np.flatnonzero(self.edges.any(1))}
    return tuple(name for name in graph.nodes if name in used)

  def pruned(self) -> 'Circuit':
    """Without what leads nowhere: only edges on some path from the input to logits.

    What a node writes is its own even if the circuit has no edge into it: it then is
    as in the other run. EAP-IG prunes such edges before it evaluates a circuit.
    """
    graph, edges = self.graph, self.edges.copy()
    inputs = [list(graph.inputs_of(node)) for node in graph.senders]
    owner = np.zeros(graph.shape[0], int)  # The sender that a receiver belongs to.
    for sender, places in enumerate(inputs):
      owner[places] = sender
    while True:
      written = edges.any(0)
      reads = np.array([not p or edges[p].any() for p in inputs])
      alive = written & reads
      kept = edges & alive[None]
      kept[:-1] &= alive[owner[:-1], None]
      if (kept == edges).all():
        return dataclasses.replace(self, edges=kept)
      edges = kept

  def save(self, path: str | os.PathLike) -> None:
    """Writes the JSON that EAP-IG and MIB read, scores included where there are any."""
    write_graph(path, self.graph, self.edges, self.scores)

  @classmethod
  def load(cls, path: str | os.PathLike) -> 'Circuit':
    """Reads what `save`, EAP-IG or MIB wrote.

    Raises:
      ValueError: if the file is no such JSON, or does not say which edges it holds.
    """
    file = read_graph(path)
    if file.edges is None:
      raise ValueError(
        f'{os.fspath(path)}: the edges have scores only; read it with EdgeScores.load '
        'and choose some.'
      )
    return cls(file.graph, file.edges, file.scores)
