"""Statistics of activations, gathered while they stream by."""

import copy
import dataclasses
from typing import Any

from jaxtyping import Float
import numpy as np

# Rows that are widened to float64 at a time.
_BLOCK_ROWS = 4096


@dataclasses.dataclass(frozen=True)
class Statistics:
  """What a trainer needs in order to normalise the rows of one array.

  Attributes:
    rows: Number of rows `N`.
    mean: The mean row, float64, of the shape of a row.
    mean_norm: Mean Euclidean norm of a row.
    mean_squared_norm: Mean squared Euclidean norm of a row.
  """

  rows: int
  mean: Float[np.ndarray, '...']
  mean_norm: float
  mean_squared_norm: float

  @property
  def total_variance(self) -> float:
    """Mean squared distance of a row from the mean row.

    It is the mean squared error of the best constant: the divisor of the fraction of
    variance unexplained.
    """
    return self.mean_squared_norm - float(np.sum(np.square(self.mean)))

  def to_json(self) -> dict[str, Any]:
    """As plain data, exactly (JSON numbers carry a float64 losslessly)."""
    return dataclasses.asdict(self) | {'mean': self.mean.tolist()}

  @classmethod
  def from_json(cls, data: dict[str, Any]) -> 'Statistics':
    """The statistics that `to_json` wrote."""
    return cls(
      rows=data['rows'],
      mean=np.asarray(data['mean'], np.float64),
      mean_norm=data['mean_norm'],
      mean_squared_norm=data['mean_squared_norm'],
    )


class RunningStatistics:
  """Sums from which `Statistics` follow, in float64.

  The sums depend on the cuts between calls of `add` in their last bits. The writer
  therefore adds whole shards, and a resumed dataset has the statistics of an
  uninterrupted one.
  """

  def __init__(self, shape: tuple[int, ...]):
    self.rows = 0
    self._total = np.zeros(shape, np.float64)
    self._norms = 0.0
    self._squares = 0.0

  def add(self, rows: Float[np.ndarray, 'N ...']) -> None:
    """Counts these rows in. Infinite and NaN values are noticed by `finite`."""
    with np.errstate(invalid='ignore'):
      for start in range(0, len(rows), _BLOCK_ROWS):
        self._add_block(rows[start : start + _BLOCK_ROWS].astype(np.float64))
    self.rows += len(rows)

  def _add_block(self, rows: Float[np.ndarray, 'N ...']) -> None:
    flat = rows.reshape(len(rows), -1)
    squares = np.einsum('nd,nd->n', flat, flat)
    self._total += rows.sum(axis=0)
    self._norms += float(np.sqrt(squares).sum())
    self._squares += float(squares.sum())

  @property
  def finite(self) -> bool:
    """Whether every value so far was finite."""
    return bool(np.isfinite(self._squares))

  def copy(self) -> 'RunningStatistics':
    """Sums that can be added to without touching these."""
    return copy.deepcopy(self)

  def result(self) -> Statistics:
    """The statistics of all rows so far (at least one)."""
    return Statistics(
      rows=self.rows,
      mean=self._total / self.rows,
      mean_norm=self._norms / self.rows,
      mean_squared_norm=self._squares / self.rows,
    )

  def to_json(self) -> dict[str, Any]:
    """The sums as plain data, exactly."""
    return {
      'rows': self.rows,
      'total': self._total.tolist(),
      'norms': self._norms,
      'squares': self._squares,
    }

  @classmethod
  def from_json(cls, data: dict[str, Any]) -> 'RunningStatistics':
    """The sums that `to_json` wrote."""
    total = np.asarray(data['total'], np.float64)
    running = cls(total.shape)
    running._total = total
    running.rows = data['rows']
    running._norms = data['norms']
    running._squares = data['squares']
    return running
