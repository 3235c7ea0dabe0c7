"""Shuffled batches of a dataset, and the position among them."""

from collections.abc import Iterator, Mapping
import dataclasses
import queue
from typing import Any

from jaxtyping import Int
import numpy as np

from interp_jax.store.arrays import StoredArray
from interp_jax.store.codec import decode
from interp_jax.store.order import Order, windows


class Batches(Iterator[Any]):
  """An iterator over shuffled batches whose position can be saved and restored.

  In each epoch the blocks of the dataset (chunks of consecutive rows) come in a new
  random order, and process `p` of `P` takes every `P`-th block. `window_blocks` of
  them are read at a time and their rows are shuffled together. Batches are cut from
  the endless stream of these rows, across windows and epochs: every batch is full but
  the very last one of the last epoch, which holds what is left, or is left out with
  `drop_last`. With `drop_last`, every process gives the same number of batches.

  Two threads read the next two windows, and a batch is a copy of its rows, so that four
  windows are all the memory that is held. `get_state` is a small dict of plain data; an
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
    self._window: _Window | None = None
    # The memory of windows that are used up. Fresh memory would be cleared by the
    # kernel page by page, which takes as long as to fill it.
    self._used: queue.SimpleQueue[_Buffers] = queue.SimpleQueue()
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
    """The next rows of each array, fewer at the end, None when there are none.

    Raises:
      ValueError: if the filter keeps no row at all and there is no last epoch.
      DamagedError: if a chunk is damaged; it names the chunk.
      StoreError: if rows cannot be read for another reason.
    """
    taken, batch = 0, self._buffers(self._arrays, rows)
    while taken < rows and (window := self._fetch()) is not None:
      stop = min(self._offset + rows - taken, len(window.order))
      picked = window.order[self._offset : stop]
      end = taken + len(picked)
      for name, parts in batch.items():
        for buffer, part in zip(window.buffers[name], parts, strict=True):
          # The indices are right; to clip them spares numpy a copy.
          np.take(buffer, picked, axis=0, out=part[taken:end], mode='clip')
      taken = end
      self._advance(window, stop)
    if not taken:
      return None
    specs = {name: array.spec for name, array in self._arrays.items()}
    return {n: decode(specs[n], [p[:taken] for p in batch[n]]) for n in batch}

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

  def _fetch(self) -> '_Window | None':
    """The window at hand, or the next one that has rows; None at the end."""
    empty = 0
    while self._window is None:
      window = next(self._windows, None)
      if window is None:
        return None
      self._window = window
      if not len(window.order):  # The filter left nothing of it.
        self._advance(window, 0)
        empty += 1
      # What another process has in this epoch, this one may have in the next.
      if empty > 10 * self._order.process_count * self._order.epoch_windows:
        raise ValueError(f'The filter keeps no row: {self._order.keep}.')
    return self._window

  def _advance(self, window: '_Window', offset: int) -> None:
    """Goes on in the window at hand, and gives it back when it is used up."""
    self._offset = offset
    if offset == len(window.order):
      self._used.put(window.buffers)
      self._window, self._offset = None, 0
      self._index += 1

  def _read_window(self, index: int, blocks: np.ndarray) -> '_Window':
    """Reads blocks of all arrays, and decides on the order of their rows."""
    arrays, keep = dict(self._arrays), self._order.keep
    if keep is not None:
      arrays[_FILTERED] = self._provenance
    try:
      buffers = self._used.get_nowait()
    except queue.Empty:
      most = min(self._order.window_blocks, self._order.blocks) * self._order.block_rows
      buffers = self._buffers(arrays, most)
    rows = 0
    for name, array in arrays.items():
      rows = array.read_chunks(blocks.tolist(), buffers[name])
    if keep is None:
      return _Window(buffers, self._order.permutation(index, rows))
    kept = np.flatnonzero(keep(buffers[_FILTERED][0][:rows]))
    return _Window(buffers, kept[self._order.permutation(index, len(kept))])

  def _buffers(self, arrays: Mapping[str, StoredArray], rows: int) -> '_Buffers':
    """Memory for so many rows of arrays, as they are stored."""
    return {
      name: tuple(np.empty((rows, *p.shape), p.np_dtype) for p in array.spec.parts)
      for name, array in arrays.items()
    }

  def _count_kept(self) -> Int[np.ndarray, 'blocks'] | None:
    """How many rows of each block are kept; None for all."""
    keep, size, total = self._order.keep, self._order.block_rows, self._order.rows
    if keep is None:
      return None
    counts = []
    step = self._provenance.schema.shard_rows
    for start in range(0, total, step):
      kept = keep(self._provenance.read_slice(start, min(start + step, total)))
      counts.append(np.add.reduceat(kept.astype(int), np.arange(0, len(kept), size)))
    return np.concatenate(counts)


# For each array, one numpy array for each of its parts.
_Buffers = dict[str, tuple[np.ndarray, ...]]
# The name under which a filter reads the provenance; no array can have it.
_FILTERED = '/provenance'


@dataclasses.dataclass(frozen=True)
class _Window:
  """Blocks in memory, and the order in which their rows come, if they come."""

  buffers: _Buffers
  order: Int[np.ndarray, 'rows']


def length(rows: Mapping[str, np.ndarray]) -> int:
  """Number of rows."""
  return len(next(iter(rows.values())))
