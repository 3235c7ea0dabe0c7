"""Iterators of rows `[B, D]` whose position can be saved, for the trainer."""

from collections.abc import Iterator
from typing import Any

from jaxtyping import Float
import numpy as np


class ArrayBatches:
  """Shuffled batches of rows that are in memory, without end.

  Each epoch is a new permutation, a function of seed and epoch; rows short of a batch
  are left out of their epoch. The position is one number.
  """

  def __init__(self, rows: Float[np.ndarray, 'N D'], batch_size: int, seed: int = 0):
    """An iterator at the beginning of the first epoch.

    Args:
      rows: The data.
      batch_size: Rows of a batch.
      seed: Of the shuffles.

    Raises:
      ValueError: if there is not one batch of rows.
    """
    if not 1 <= batch_size <= len(rows):
      raise ValueError(
        f'batch_size={batch_size} of {len(rows)} rows: choose between 1 and '
        f'{len(rows)}.'
      )
    self._rows, self._batch_size, self._seed = rows, batch_size, seed
    self._taken = 0
    self._epoch, self._order = -1, np.zeros(0, int)

  def __iter__(self) -> Iterator[np.ndarray]:
    return self

  def __next__(self) -> np.ndarray:
    size = self._batch_size
    epoch, index = divmod(self._taken, len(self._rows) // size)
    if epoch != self._epoch:
      rng = np.random.default_rng((self._seed, epoch))
      self._epoch, self._order = epoch, rng.permutation(len(self._rows))
    self._taken += 1
    return self._rows[self._order[index * size : (index + 1) * size]]

  def get_state(self) -> dict[str, int]:
    """The position, as JSON types."""
    return {'taken': self._taken}

  def set_state(self, state: dict[str, Any]) -> None:
    """Goes to a position that `get_state` gave."""
    self._taken = state['taken']
