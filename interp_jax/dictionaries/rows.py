"""Iterators of batches whose position can be saved, for the trainer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
from jaxtyping import Shaped
import numpy as np


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


class Arranged:
  """Batches of several arrays as inputs and targets of a dictionary.

  Where one array is named, it is taken as it is, `[B, D]`; where several are, they are
  stacked as sources, `[B, S, D]`.
  """

  def __init__(self, batches: Any, inputs: Sequence[str], targets: Sequence[str] = ()):
    """Arranges the batches of another iterator.

    Args:
      batches: An iterator of mappings, array → rows, whose position can be saved.
      inputs: The arrays that a dictionary reads.
      targets: The arrays that it should write; none for those that it reads.
    """
    self._batches = batches
    self._inputs, self._targets = tuple(inputs), tuple(targets)

  def __iter__(self) -> Iterator[Any]:
    return self

  def __next__(self) -> Any:
    return arrange(next(self._batches), self._inputs, self._targets)

  def get_state(self) -> Any:
    """The position of the iterator below."""
    return self._batches.get_state()

  def set_state(self, state: Any) -> None:
    """Goes to a position."""
    self._batches.set_state(state)

  def close(self) -> None:
    """Closes the iterator below."""
    self._batches.close()


def arrange(
  rows: Mapping[str, np.ndarray], inputs: Sequence[str], targets: Sequence[str] = ()
) -> Any:
  """Rows of arrays by name as inputs, or as `inputs` and `targets`."""

  def stacked(names: Sequence[str]) -> np.ndarray:
    arrays = [rows[name] for name in names]
    return arrays[0] if len(arrays) == 1 else np.stack(arrays, axis=1)

  if not targets:
    return stacked(inputs)
  return {'inputs': stacked(inputs), 'targets': stacked(targets)}
