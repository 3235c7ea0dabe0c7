"""Batches that do not depend on how many processes read them."""

import collections
from collections.abc import Iterator, Mapping
import concurrent.futures
from typing import Any

import jax
import numpy as np

from interp_jax.store.batches import Batches
from interp_jax.store.reader import Reader


class Lanes(Iterator[Any]):
  """The rows of one process of global batches, whose order the processes share.

  A global batch is put together from `lanes` streams: each has its share of the
  dataset's blocks, which it shuffles, and gives its part of every batch. A process
  reads the lanes that its rows come from, so that the batches are the same for any
  number of processes. With fewer lanes than processes, some read the same blocks and
  each keeps its own rows of them; with a multiple of the processes, none does.

  A thread puts the next batches together while the last one is computed with.

  `get_state` is the position of all lanes. With several processes all must ask for it,
  because each knows its own lanes only.
  """

  def __init__(
    self,
    reader: Reader,
    batch_size: int,
    seed: int,
    lanes: int = 1,
    *,
    arrays: Any = None,
    window_blocks: int = 64,
    ahead: int = 2,
    process_index: int = 0,
    process_count: int = 1,
  ):
    """Starts at the first batch.

    Args:
      reader: The dataset.
      batch_size: Rows of a global batch.
      seed: Of the order.
      lanes: How many streams the order is made of. They are part of it: other lanes,
        other batches.
      arrays: Which arrays, as in `Reader.batches`.
      window_blocks: How many blocks are shuffled together in memory, in all lanes.
      ahead: How many batches are put together before they are asked for.
      process_index: Which part of the batches to read.
      process_count: Of how many.

    Raises:
      ValueError: if the batch does not divide over the lanes or over the processes, or
        the dataset has fewer blocks than there are lanes.
    """
    for name, parts in (('lanes', lanes), ('processes', process_count)):
      if parts < 1 or batch_size % parts:
        raise ValueError(
          f'A batch of {batch_size} rows does not divide over {parts} {name}. Give a'
          f' multiple of {parts}.'
        )
    self._lanes, self._rows = lanes, batch_size // lanes
    start = process_index * batch_size // process_count
    stop = start + batch_size // process_count
    first, last = start // self._rows, -(-stop // self._rows)
    self._own = slice(start - first * self._rows, stop - first * self._rows)
    self._streams: dict[int, Batches] = {
      lane: reader.batches(
        self._rows,
        seed,
        arrays=arrays,
        window_blocks=max(1, window_blocks // lanes),
        process_index=lane,
        process_count=lanes,
      )
      for lane in range(first, last)
    }
    self._positions = self._positions_now()
    self._ahead = ahead
    self._thread = concurrent.futures.ThreadPoolExecutor(1, 'lanes')
    self._queue: collections.deque[concurrent.futures.Future] = collections.deque()

  def __iter__(self) -> 'Lanes':
    return self

  def __next__(self) -> Any:
    while len(self._queue) <= self._ahead:
      self._queue.append(self._thread.submit(self._make))
    batch, self._positions = self._queue.popleft().result()
    return batch

  def get_state(self) -> dict[str, Any]:
    """The position: what `set_state` needs to continue with the next batch."""
    position = np.full((self._lanes, 3), -1, np.int32)
    for lane, own in self._positions.items():
      position[lane] = own
    if jax.process_count() > 1:
      from jax.experimental import multihost_utils

      position = multihost_utils.process_allgather(position).max(0)
    order = next(iter(self._streams.values())).get_state()['order']
    order = {k: v for k, v in order.items() if k != 'process_index'}
    return {'lanes': np.asarray(position).tolist(), 'order': order}

  def set_state(self, state: Mapping[str, Any]) -> None:
    """Goes to a position that `get_state` gave, in however many processes.

    Raises:
      ValueError: if the state belongs to another order.
    """
    saved = state.get('lanes', ())
    if len(saved) != self._lanes:
      raise ValueError(
        f'The position is one in {len(saved)} lanes, and these are {self._lanes}: give'
        ' as many.'
      )
    self._forget()
    for lane, stream in self._streams.items():
      window, offset, batches = saved[lane]
      stream.set_state(
        {
          'window': window,
          'offset': offset,
          'batches': batches,
          'order': {**state['order'], 'process_index': lane},
        }
      )
    self._positions = self._positions_now()

  def close(self) -> None:
    """Stops the prefetch."""
    self._forget()
    self._thread.shutdown()
    for stream in self._streams.values():
      stream.close()

  def _make(self) -> tuple[Any, dict[int, tuple[int, int, int]]]:
    """The next batch, and where it leaves the lanes."""
    parts = [next(stream) for stream in self._streams.values()]
    if len(parts) == 1:
      batch = jax.tree.map(lambda rows: rows[self._own], parts[0])
    else:
      batch = jax.tree.map(lambda *rows: np.concatenate(rows)[self._own], *parts)
    return batch, self._positions_now()

  def _positions_now(self) -> dict[int, tuple[int, int, int]]:
    """Window, offset and batches of each of this process's lanes."""
    states = {lane: stream.get_state() for lane, stream in self._streams.items()}
    names = ('window', 'offset', 'batches')
    return {lane: tuple(s[name] for name in names) for lane, s in states.items()}

  def _forget(self) -> None:
    """Drops what was put together ahead."""
    for future in self._queue:
      future.cancel()
    concurrent.futures.wait(self._queue)
    self._queue.clear()
