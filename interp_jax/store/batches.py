"""Shuffled batches of a dataset, and the position among them."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from interp_jax.store.arrays import StoredArray
from interp_jax.store.order import Order, windows


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
    provenance: StoredArray,
    epochs: int | None = None,
    single: bool = False,
    drop_last: bool = False,
  ):
    """Starts at the first batch.

    Args:
      arrays: The arrays to read.
      order: The order of their rows.
      batch_size: Rows of a batch.
      provenance: What the order's filter is asked about.
      epochs: How often to go through the dataset; None for ever.
      single: Whether a batch is the rows of the only array instead of a dict.
      drop_last: Whether to leave out a last batch that is not full.

    Raises:
      ValueError: if a number makes no sense.
    """
    if batch_size < 1 or (epochs is not None and epochs < 1):
      raise ValueError(f'{batch_size=} and {epochs=} must be positive.')
    # Of a single array the name does not matter, to others that it is mixed with.
    self._arrays = {'': next(iter(arrays.values()))} if single else dict(arrays)
    self._order = order
    self._batch_size = batch_size
    self._provenance = provenance
    self._single = single
    self._limit = None
    if drop_last and epochs is not None:
      self._limit = epochs * order.fewest_rows(self._count_kept()) // batch_size
    self._windows = windows(order, epochs, self._read_window)
    self._window: dict[str, np.ndarray] | None = None
    self._index = self._offset = self._given = 0

  @property
  def kind(self) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of a row of each array: what batches that are mixed share."""
    specs = {name: array.spec for name, array in self._arrays.items()}
    return {name: (spec.shape, str(spec.np_dtype)) for name, spec in specs.items()}

  def __iter__(self) -> 'Batches':
    return self

  def __next__(self) -> Any:
    if self._limit is not None and self._given >= self._limit:
      raise StopIteration
    batch = self.take(self._batch_size)
    if batch is None:
      raise StopIteration
    self._given += 1
    return self.present(batch)

  def take(self, rows: int) -> dict[str, np.ndarray] | None:
    """The next rows of each array, fewer at the end, None when there are none."""
    parts: list[dict[str, np.ndarray]] = []
    while rows and (window := self._fetch()) is not None:
      parts.append(self._cut(window, rows))
      rows -= length(parts[-1])
    if not parts:
      return None
    return {name: join([part[name] for part in parts]) for name in self._arrays}

  def present(self, batch: dict[str, np.ndarray]) -> Any:
    """What a caller sees of a batch: the dict, or the rows of the only array."""
    return batch[''] if self._single else batch

  def get_state(self) -> dict[str, Any]:
    """The position: what `set_state` needs to continue with the next batch."""
    return {
      'window': self._index,
      'offset': self._offset,
      'batches': self._given,
      'order': self._order.to_json(),
    }

  def set_state(self, state: Mapping[str, Any]) -> None:
    """Goes to a position.

    Args:
      state: What `get_state` returned on an iterator with the same order; the batch
        size and the arrays may be others.

    Raises:
      ValueError: if the state belongs to another order.
    """
    order = self._order.to_json()
    if dict(state['order']) != order:
      raise ValueError(
        f'The position belongs to the order {state["order"]}, this is {order}. Use the '
        'same dataset, seed, window_blocks, processes and filter.'
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
    """The window at hand, or the next one that has rows; None at the end."""
    while self._window is None:
      window = next(self._windows, None)
      if window is None:
        return None
      if length(window):
        self._window = window
      else:
        self._index += 1
    return self._window

  def _cut(self, window: dict[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    """Takes up to so many rows from the window, and drops it when it is used up."""
    stop = min(self._offset + rows, length(window))
    part = {name: array[self._offset : stop] for name, array in window.items()}
    self._offset = stop
    if stop == length(window):
      self._window, self._offset = None, 0
      self._index += 1
    return part

  def _read_window(self, index: int, blocks: np.ndarray) -> dict[str, np.ndarray]:
    """Reads blocks of all arrays and shuffles their rows together."""
    chunks = blocks.tolist()
    spans = [self._provenance.span(chunk) for chunk in chunks]
    keep, counts = self._kept(chunks), [stop - start for start, stop in spans]
    if keep is not None:
      counts = [int(mask.sum()) for mask in keep]
    ends = np.cumsum(counts)
    where = np.split(self._order.permutation(index, int(ends[-1])), ends[:-1])
    return {
      name: _scatter(array, chunks, where, keep) for name, array in self._arrays.items()
    }

  def _kept(self, chunks: list[int]) -> list[np.ndarray] | None:
    """Which rows of each chunk are kept; None for all."""
    if self._order.keep is None:
      return None
    return [self._order.keep(p) for p in self._provenance.read_chunks(chunks)]

  def _count_kept(self) -> np.ndarray | None:
    """How many rows of each block are kept; None for all."""
    keep = self._order.keep
    if keep is None:
      return None
    read = self._provenance.read_chunks(range(self._order.blocks))
    return np.asarray([int(keep(provenance).sum()) for provenance in read])


def _scatter(
  array: StoredArray,
  chunks: list[int],
  where: list[np.ndarray],
  keep: list[np.ndarray] | None,
) -> np.ndarray:
  """Reads chunks and puts each of their rows in its place, in one copy."""
  total = sum(map(len, where))
  joined = np.empty((total, *array.spec.shape), array.spec.np_dtype)
  for index, rows in enumerate(array.read_chunks(chunks)):
    joined[where[index]] = rows if keep is None else rows[keep[index]]
  return joined


def join(parts: list[np.ndarray]) -> np.ndarray:
  """Rows one after the other."""
  return parts[0] if len(parts) == 1 else np.concatenate(parts)


def length(rows: Mapping[str, np.ndarray]) -> int:
  """Number of rows."""
  return len(next(iter(rows.values())))
