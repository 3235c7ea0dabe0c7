"""Iterators of batches whose position can be saved, for the trainer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np


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
