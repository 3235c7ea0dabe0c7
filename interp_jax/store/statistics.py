"""Statistics of activations, gathered while they stream by."""

import dataclasses
from typing import Any

from jaxtyping import Float
import numpy as np

from interp_jax.store.codec import BLOCK_ROWS


@dataclasses.dataclass(frozen=True)
class Statistics:
  """What a trainer needs in order to normalise the rows of one array.

  They are those of the rows as they are read.

  Attributes:
    rows: Number of rows `N`.
    mean: The mean row, float64, of the shape of a row.
    second_moment: The mean of the square of each component, of the shape of a row.
    mean_norm: Mean Euclidean norm of a row.
    mean_squared_error: Mean squared distance of a row from the one that was given to
      the writer: 0 if it was given in the stored dtype.
  """

  rows: int
  mean: Float[np.ndarray, '...']
  second_moment: Float[np.ndarray, '...']
  mean_norm: float
  mean_squared_error: float = 0.0

  @property
  def mean_squared_norm(self) -> float:
    """Mean squared Euclidean norm of a row."""
    return float(np.sum(self.second_moment))

  @property
  def variance(self) -> Float[np.ndarray, '...']:
    """The variance of each component, of the shape of a row."""
    return np.maximum(self.second_moment - np.square(self.mean), 0.0)

  @property
  def total_variance(self) -> float:
    """Mean squared distance of a row from the mean row.

    It is the mean squared error of the best constant: the divisor of the fraction of
    variance unexplained.
    """
    return self.mean_squared_norm - float(np.sum(np.square(self.mean)))

  @property
  def relative_error(self) -> float:
    """Root mean square of the error of storing, over that of the norm."""
    if not self.mean_squared_error:
      return 0.0
    return float(np.sqrt(self.mean_squared_error / self.mean_squared_norm))

  def to_json(self) -> dict[str, Any]:
    """As plain data, exactly (JSON numbers carry a float64 losslessly)."""
    lists = {name: getattr(self, name).tolist() for name in ('mean', 'second_moment')}
    return dataclasses.asdict(self) | lists

  @classmethod
  def from_json(cls, data: dict[str, Any]) -> 'Statistics':
    """The statistics that `to_json` wrote."""
    return cls(
      rows=data['rows'],
      mean=np.asarray(data['mean'], np.float64),
      second_moment=np.asarray(data['second_moment'], np.float64),
      mean_norm=data['mean_norm'],
      mean_squared_error=data['mean_squared_error'],
    )


class RunningStatistics:
  """Sums from which `Statistics` follow, in float64.

  Sums of disjoint rows can be merged. They depend on the cuts in their last bits, so
  the writer adds up each shard by itself and merges the shards in their order: the
  statistics are the same whoever wrote which shard, and however often it was killed.
  """

  def __init__(self, shape: tuple[int, ...], *, covariance: bool = False):
    """Begins with no rows.

    Args:
      shape: Shape of a row, of `D` numbers.
      covariance: Whether to add up the `[D, D]` products, too.
    """
    width = int(np.prod(shape))
    self.shape = shape
    self.rows = 0
    self._total = np.zeros(width, np.float64)
    self._squares = np.zeros(width, np.float64)
    self._scalars = np.zeros(2, np.float64)  # Of norms and of squared errors.
    self._products = np.zeros((width, width) if covariance else (0, 0), np.float64)

  def add(self, rows: Float[np.ndarray, 'N ...']) -> None:
    """Counts these rows in. Infinite and NaN values are noticed by `finite`."""
    with np.errstate(invalid='ignore'):
      for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        self._add_block(block.reshape(len(block), -1).astype(np.float64))
    self.rows += len(rows)

  def add_error(self, squared_error: float) -> None:
    """Counts in the sum of squared distances of rows from those that were given."""
    self._scalars[1] += squared_error

  def _add_block(self, flat: Float[np.ndarray, 'n D']) -> None:
    self._total += flat.sum(axis=0)
    if self._products.size:
      self._products += flat.T @ flat
    np.square(flat, out=flat)
    self._squares += flat.sum(axis=0)
    self._scalars[0] += np.sqrt(flat.sum(axis=1)).sum()

  def merge(self, other: 'RunningStatistics') -> None:
    """Counts in the rows of the other, which must not be the same ones.

    Raises:
      ValueError: if the other is of rows of another shape, or only one of the two has
        a covariance.
    """
    mine, theirs = self.to_arrays(), other.to_arrays()
    if other.shape != self.shape or self.has_covariance != other.has_covariance:
      raise ValueError(
        f'Cannot merge statistics of rows of shape {other.shape} into those of '
        f'{self.shape}; both with a covariance, or none.'
      )
    for name, sums in mine.items():
      sums += theirs[name]
    self.rows += other.rows

  @property
  def has_covariance(self) -> bool:
    """Whether products are added up."""
    return bool(self._products.size)

  @property
  def finite(self) -> bool:
    """Whether every value so far was finite."""
    return bool(np.isfinite(self._squares).all() and np.isfinite(self._scalars).all())

  def result(self) -> Statistics:
    """The statistics of all rows so far (at least one)."""
    norms, error = (self._scalars / self.rows).tolist()
    return Statistics(
      rows=self.rows,
      mean=(self._total / self.rows).reshape(self.shape),
      second_moment=(self._squares / self.rows).reshape(self.shape),
      mean_norm=norms,
      mean_squared_error=error,
    )

  def covariance(self) -> Float[np.ndarray, 'D D']:
    """The covariance of the components of a row, flattened.

    Raises:
      ValueError: if its products were not added up.
    """
    if not self.has_covariance:
      raise ValueError('Ask for the covariance before the rows are added.')
    mean = self._total / self.rows
    return self._products / self.rows - np.outer(mean, mean)

  def to_arrays(self) -> dict[str, np.ndarray]:
    """The sums themselves, by name, all but the number of rows."""
    return {
      'total': self._total,
      'squares': self._squares,
      'scalars': self._scalars,
      'products': self._products,
    }

  @classmethod
  def from_arrays(
    cls, shape: tuple[int, ...], rows: int, sums: dict[str, np.ndarray]
  ) -> 'RunningStatistics':
    """The sums that `to_arrays` gave."""
    running = cls(shape, covariance=bool(sums['products'].size))
    running.rows = rows
    for name, array in running.to_arrays().items():
      array[...] = sums[name]
    return running
