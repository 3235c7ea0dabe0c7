"""The plan of a sweep: which worlds run together, from which layer and position on.

Worlds of a chunk start together, at the earliest layer and position that any of them
changes. Few worlds to a chunk repeat little work and read the weights often; many do
the opposite. Every first position is a program of its own, since shapes depend on it.
"""

from collections.abc import Callable, Sequence
import dataclasses

from jaxtyping import Int
import numpy as np

# What a program must save before it is worth compiling, in floating-point operations:
# some seconds of one CPU core, spread over a few sweeps of the same shapes.
PROGRAM_FLOPS = 1e11
# First positions are chosen among so many.
_CANDIDATES = 128


@dataclasses.dataclass(frozen=True)
class Chunk:
  """Worlds that run together.

  Attributes:
    worlds: Their indices; the last one is repeated to fill the chunk.
    count: How many of them are not repeated.
    layer: The layer to start at.
    position: The position to start at.
  """

  worlds: Int[np.ndarray, 'chunk']
  count: int
  layer: int
  position: int


@dataclasses.dataclass(frozen=True)
class Costs:
  """What a plan is judged by.

  Attributes:
    depth: Layers of the model.
    length: Positions of the sequences.
    batch: Sequences of a world.
    fixed_rows: What it costs to read a layer's weights once, in rows (tokens) that
      could be computed instead.
    row_flops: Operations of one row in one layer.
  """

  depth: int
  length: int
  batch: int
  fixed_rows: int = 64
  row_flops: float = 1.0


def make_plan(
  layers: Int[np.ndarray, 'W'],
  positions: Int[np.ndarray, 'W'],
  costs: Costs,
  most: Callable[[int], int],
  multiple: int = 1,
  programs: int | None = None,
) -> list[Chunk]:
  """Divides worlds into chunks.

  Args:
    layers: The first layer that each world changes.
    positions: The first position that each world changes.
    costs: What to judge by.
    most: Positions that are run → the most worlds that fit in memory.
    multiple: Chunks have a multiple of so many worlds.
    programs: The most first positions; None for as many as are worth compiling.

  Returns:
    The chunks; those that start at one position have one size.
  """
  remaining = (costs.depth - layers).astype(float)
  starts = first_positions(positions, remaining, costs, programs)
  chunks = []
  for start, stop in zip(starts, [*starts[1:], costs.length], strict=True):
    mine = np.flatnonzero((positions >= start) & (positions < stop))
    mine = mine[np.argsort(layers[mine], kind='stable')]
    limit = max(multiple, most(costs.length - start) // multiple * multiple)
    rows = costs.batch * (costs.length - start)
    size = _best_size(layers[mine], rows, costs, limit, multiple)
    for first in range(0, len(mine), size):
      some = mine[first : first + size]
      filled = np.pad(some, (0, size - len(some)), mode='edge')
      chunks.append(Chunk(filled, len(some), int(layers[some].min()), start))
  return chunks


def first_positions(
  positions: Int[np.ndarray, 'W'],
  weights: np.ndarray,
  costs: Costs,
  programs: int | None = None,
) -> list[int]:
  """The positions to start at that save most, by dynamic programming.

  Args:
    positions: The first position that each world changes.
    weights: Layers that each world runs.
    costs: What to judge by.
    programs: The most positions to start at; None to weigh them against compiling.

  Returns:
    Positions in rising order; the first is the earliest of all.
  """
  step = max(1, costs.length // _CANDIDATES)
  places, which = np.unique(positions // step * step, return_inverse=True)
  work = np.concatenate([[0.0], np.cumsum(np.bincount(which, weights))])
  count = len(places)
  # best[j]: the least work for all places before j with so many starts.
  best = np.where(np.arange(count + 1) == 0, 0.0, np.inf)
  later = np.arange(count + 1)[None] > np.arange(count)[:, None]
  choices, totals = [], []
  for _ in range(min(count, programs or count)):
    cost = (work[None] - work[:-1, None]) * (costs.length - places)[:, None]
    through = best[:-1, None] + np.where(later, cost, np.inf)
    choices.append(through.argmin(0))
    best = through.min(0)
    totals.append(best[-1])
  number = 1 + np.arange(len(totals))
  price = 0.0 if programs else PROGRAM_FLOPS / costs.row_flops / costs.batch
  end, starts = count, []
  for choice in reversed(choices[: int(np.argmin(totals + price * number)) + 1]):
    end = int(choice[end])
    starts.append(int(places[end]))
  return starts[::-1]


def _best_size(
  layers: Int[np.ndarray, 'W'], rows: int, costs: Costs, limit: int, multiple: int
) -> int:
  """The size of chunk with which worlds, sorted by layer, take the least time."""
  needed = -(-len(layers) // multiple) * multiple
  sizes = np.arange(multiple, min(limit, needed) + 1, multiple)
  if len(sizes) > _CANDIDATES:
    sizes = np.unique(np.linspace(0, len(sizes) - 1, _CANDIDATES).astype(int))
    sizes = (sizes + 1) * multiple
  return int(min(sizes, key=lambda size: _time(layers, rows, costs, int(size))))


def _time(
  layers: Sequence[int] | np.ndarray, rows: int, costs: Costs, size: int
) -> float:
  """Of all chunks of a size, in rows of a layer; unembedding counts as one layer."""
  run = costs.depth + 1 - np.asarray(layers)[::size]
  return float(run.sum() * (costs.fixed_rows + size * rows))
