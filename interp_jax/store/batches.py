"""Shuffled batches of a dataset: the order, the position in it, and the prefetch.

Grain gives the order of blocks, its reshuffling from epoch to epoch, the slices of
processes and the prefetch. Rows are never Grain elements: a Python object per row
would be a hundred times slower than the disk. An element is a window of many blocks,
which is shuffled within and cut into batches here.
"""

from collections.abc import Iterator, Mapping
import dataclasses
from typing import Any

import numpy as np

from interp_jax.store.arrays import StoredArray


@dataclasses.dataclass(frozen=True)
class Order:
  """What the order of rows depends on.

  Attributes:
    rows: Number of rows of the dataset.
    block_rows: Rows of a block: what is read in one piece.
    window_blocks: Blocks that are shuffled together.
    seed: The seed.
    process_index: Which slice of the blocks.
    process_count: Of how many.
  """

  rows: int
  block_rows: int
  window_blocks: int
  seed: int
  process_index: int = 0
  process_count: int = 1

  def __post_init__(self) -> None:
    if not 0 <= self.process_index < self.process_count:
      raise ValueError(
        f'process_index={self.process_index} must be in [0, {self.process_count}).'
      )
    if self.process_count > self.blocks:
      raise ValueError(
        f'The dataset has {self.blocks} blocks of {self.block_rows} rows, too few for '
        f'process_count={self.process_count}.'
      )
    if self.window_blocks < 1 or self.seed < 0:
      raise ValueError(
        f'window_blocks={self.window_blocks} must be positive and seed={self.seed} '
        'not negative.'
      )

  @property
  def blocks(self) -> int:
    """Number of blocks of the dataset."""
    return -(-self.rows // self.block_rows)

  @property
  def fewest_rows(self) -> int:
    """Rows that every process has in every epoch, at least."""
    if self.process_count == 1:
      return self.rows
    short = self.blocks * self.block_rows - self.rows
    return self.blocks // self.process_count * self.block_rows - short

  def permutation(self, window: int, rows: int) -> np.ndarray:
    """Where the rows of a window go within it."""
    key = [self.seed, self.process_index, window]
    return np.random.default_rng(key).permutation(rows)


class Batches(Iterator[Any]):
  """An iterator over shuffled batches whose position can be saved and restored.

  In each epoch the blocks of the dataset (chunks of consecutive rows) come in a new
  random order, and process `p` of `P` takes every `P`-th block. `window_blocks` of
  them are read at a time and their rows are shuffled together. Batches are cut from
  the endless stream of these rows, across windows and epochs: every batch is full but
  the very last one of the last epoch, which holds what is left, or is left out with
  `drop_last`. With `drop_last`, every process gives the same number of batches.

  A thread reads the next two windows. `get_state` is a small dict of plain data; an
  iterator made with the same arguments continues there after `set_state`.
  """

  def __init__(
    self,
    arrays: Mapping[str, StoredArray],
    order: Order,
    *,
    batch_size: int,
    epochs: int | None = None,
    single: bool = False,
    drop_last: bool = False,
  ):
    """Starts at the first batch.

    Args:
      arrays: The arrays to read.
      order: The order of their rows.
      batch_size: Rows of a batch.
      epochs: How often to go through the dataset; None for ever.
      single: Whether a batch is the rows of the only array instead of a dict.
      drop_last: Whether to leave out a last batch that is not full.

    Raises:
      ValueError: if a number makes no sense.
    """
    if batch_size < 1 or (epochs is not None and epochs < 1):
      raise ValueError(f'{batch_size=} and {epochs=} must be positive.')
    self._arrays = arrays
    self._order = order
    self._batch_size = batch_size
    self._single = single
    self._limit = None
    if drop_last and epochs is not None:
      self._limit = epochs * order.fewest_rows // batch_size
    self._windows = _windows(order, epochs, self._read_window)
    self._window: dict[str, np.ndarray] | None = None
    self._index = self._offset = self._given = 0

  def __iter__(self) -> 'Batches':
    return self

  def __next__(self) -> Any:
    if self._limit is not None and self._given >= self._limit:
      raise StopIteration
    parts: list[dict[str, np.ndarray]] = []
    missing = self._batch_size
    while missing and (window := self._fetch()) is not None:
      part = self._cut(window, missing)
      missing -= _length(part)
      parts.append(part)
    if not parts:
      raise StopIteration
    self._given += 1
    batch = {name: _join([p[name] for p in parts]) for name in self._arrays}
    return next(iter(batch.values())) if self._single else batch

  def get_state(self) -> dict[str, Any]:
    """The position: what `set_state` needs to continue with the next batch."""
    return {
      'window': self._index,
      'offset': self._offset,
      'batches': self._given,
      'order': dataclasses.asdict(self._order),
    }

  def set_state(self, state: Mapping[str, Any]) -> None:
    """Goes to a position.

    Args:
      state: What `get_state` returned on an iterator with the same order; the batch
        size and the arrays may be others.

    Raises:
      ValueError: if the state belongs to another order.
    """
    order = dataclasses.asdict(self._order)
    if dict(state['order']) != order:
      raise ValueError(
        f'The position belongs to the order {state["order"]}, this is {order}. Use the '
        'same dataset, seed, window_blocks and processes.'
      )
    self._windows.set_state({'next_index': state['window']})
    self._window = None
    self._index = state['window']
    self._offset = state['offset']
    self._given = state['batches']

  def close(self) -> None:
    """Stops the prefetch."""
    self._windows.close()

  def _fetch(self) -> dict[str, np.ndarray] | None:
    """The window at hand, or the next one; None at the end."""
    if self._window is None:
      self._window = next(self._windows, None)
    return self._window

  def _cut(self, window: dict[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    """Takes up to so many rows from the window, and drops it when it is used up."""
    stop = min(self._offset + rows, _length(window))
    part = {name: array[self._offset : stop] for name, array in window.items()}
    self._offset = stop
    if stop == _length(window):
      self._window, self._offset = None, 0
      self._index += 1
    return part

  def _read_window(self, index: int, blocks: np.ndarray) -> dict[str, np.ndarray]:
    """Reads blocks of all arrays and shuffles their rows together."""
    read = {n: array.read_chunks(blocks.tolist()) for n, array in self._arrays.items()}
    ends = np.cumsum([len(block) for block in next(iter(read.values()))])
    where = np.split(self._order.permutation(index, int(ends[-1])), ends[:-1])
    return {name: _scatter(pieces, where) for name, pieces in read.items()}


def _windows(order: Order, epochs: int | None, read: Any) -> Any:
  """Grain's iterator over the windows of one process, with its position."""
  # Importing Grain takes a third of a second, which nobody else should pay.
  import grain

  # Grain's epoch e has the seed `seed + e`; mixed first, so that the epochs of seed 0
  # are not those of seed 1 moved by one.
  seed = int(np.random.SeedSequence(order.seed).generate_state(1)[0])
  blocks = grain.MapDataset.range(order.blocks).shuffle(seed=seed)
  blocks = blocks[order.process_index :: order.process_count]
  windows = blocks.batch(order.window_blocks, drop_remainder=False).repeat(epochs)
  options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
  return iter(windows.map_with_index(read).to_iter_dataset(options))


def _scatter(pieces: list[np.ndarray], where: list[np.ndarray]) -> np.ndarray:
  """Joins blocks and permutes their rows in one copy."""
  total = sum(len(piece) for piece in pieces)
  joined = np.empty((total, *pieces[0].shape[1:]), pieces[0].dtype)
  for piece, positions in zip(pieces, where, strict=True):
    joined[positions] = piece
  return joined


def _join(parts: list[np.ndarray]) -> np.ndarray:
  return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _length(rows: Mapping[str, np.ndarray]) -> int:
  return len(next(iter(rows.values())))
