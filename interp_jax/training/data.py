"""The order in which a run sees its data: seeded, endless, exactly resumable.

Grain shuffles the rows anew in every epoch. The order is a function of the seed and of
the number of batches taken, so an iterator's state is one number. With several
processes, each reads the slice that its devices need (`sharding.data_share`); batch k
is the same set of rows for any number of slices.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import grain
import jax
from jaxtyping import Shaped
import numpy as np


@runtime_checkable
class RandomAccess(Protocol):
  """Rows by their index: an array, a list, the reader of a store."""

  def __len__(self) -> int: ...

  def __getitem__(self, index: int, /) -> Any: ...


def batches(
  rows: RandomAccess,
  batch_size: int,
  seed: int,
  process_index: int | None = None,
  process_count: int | None = None,
  prefetch: int = 4,
) -> grain.DatasetIterator:
  """An endless iterator of shuffled batches, read ahead by threads.

  Its `get_state()` and `set_state(state)` are exact: a restored iterator goes on with
  the batch that the saved one would have given next.

  Args:
    rows: a random-access source, for example an array `[rows, context]`; its items may
      be pytrees of arrays.
    batch_size: rows of a batch, over all processes.
    seed: seed of the shuffle.
    process_index: which slice to read. By default, JAX's process, which is right where
      no copy of a model is on devices of several; `*data_share(mesh)` always is.
    process_count: of how many. By default, JAX's number of processes.
    prefetch: batches that are read ahead.

  Raises:
    ValueError: if the batch does not divide over the processes, or is larger than the
      data.
  """
  index = jax.process_index() if process_index is None else process_index
  count = jax.process_count() if process_count is None else process_count
  if batch_size % count:
    raise ValueError(
      f'A batch of {batch_size} rows does not divide over {count} processes. Give a'
      f' multiple of {count}.'
    )
  if batch_size > len(rows):
    raise ValueError(
      f'A batch of {batch_size} rows is larger than the data ({len(rows)} rows).'
    )
  source: Any = rows  # Grain's own Protocol names its arguments otherwise.
  dataset = grain.MapDataset.source(source).seed(seed).shuffle().repeat()
  # Slicing after `repeat` deals out the same global order however many processes.
  dataset = dataset[index::count].batch(batch_size // count, drop_remainder=True)
  options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=prefetch)
  return iter(dataset.to_iter_dataset(options))


class ArrayBatches:
  """Shuffled batches of rows that are in memory, without end.

  Each epoch is a new permutation, a function of seed and epoch; rows short of a batch
  are left out of their epoch. The position is one number.
  """

  def __init__(
    self,
    rows: Shaped[np.ndarray, 'N ...'] | Mapping[str, np.ndarray],
    batch_size: int,
    seed: int = 0,
  ):
    """An iterator at the beginning of the first epoch.

    Args:
      rows: The data: one array, or several that are shuffled alike (`inputs` and
        `targets`), whose batches are dicts.
      batch_size: Rows of a batch.
      seed: Of the shuffles.

    Raises:
      ValueError: if there is not one batch of rows, or arrays differ in length.
    """
    lengths = {len(array) for array in jax.tree.leaves(rows)}
    if len(lengths) != 1:
      raise ValueError(f'Arrays of {sorted(lengths)} rows: they must have as many.')
    self._length = lengths.pop()
    if not 1 <= batch_size <= self._length:
      raise ValueError(
        f'batch_size={batch_size} of {self._length} rows: choose between 1 and '
        f'{self._length}.'
      )
    self._rows, self._batch_size, self._seed = rows, batch_size, seed
    self._taken = 0
    self._epoch, self._order = -1, np.zeros(0, int)

  def __iter__(self) -> Iterator[Any]:
    return self

  def __next__(self) -> Any:
    size = self._batch_size
    epoch, index = divmod(self._taken, self._length // size)
    if epoch != self._epoch:
      rng = np.random.default_rng((self._seed, epoch))
      self._epoch, self._order = epoch, rng.permutation(self._length)
    self._taken += 1
    chosen = self._order[index * size : (index + 1) * size]
    return jax.tree.map(lambda array: array[chosen], self._rows)

  def get_state(self) -> dict[str, int]:
    """The position, as JSON types."""
    return {'taken': self._taken}

  def set_state(self, state: dict[str, Any]) -> None:
    """Goes to a position that `get_state` gave."""
    self._taken = state['taken']


class OwnRows(Iterator[Any]):
  """A process's rows of batches that every process makes whole.

  For data in memory, where making a batch costs nothing: the global batches are those
  of one process.
  """

  def __init__(self, batches: Any, process_index: int, process_count: int):
    """Starts where the batches are.

    Args:
      batches: An iterator of pytrees of arrays `[B, ...]`, the same on every process,
        whose position can be saved.
      process_index: Which part of each batch to keep.
      process_count: Of how many, which divide `B`.
    """
    self._batches = batches
    self._index, self._count = process_index, process_count

  def __next__(self) -> Any:
    return jax.tree.map(self._own, next(self._batches))

  def get_state(self) -> Any:
    """The position of the batches."""
    return self._batches.get_state()

  def set_state(self, state: Any) -> None:
    """Goes to a position."""
    self._batches.set_state(state)

  def _own(self, rows: Any) -> Any:
    if len(rows) % self._count:
      raise ValueError(
        f'A batch of {len(rows)} rows does not divide over {self._count} processes.'
      )
    size = len(rows) // self._count
    return rows[self._index * size : (self._index + 1) * size]
