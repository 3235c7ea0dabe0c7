"""An array of a dataset that looks like a numpy array and stays on disk."""

from typing import Any

import numpy as np

from interp_jax.store.arrays import StoredArray


class ArrayView:
  """Rows of a dataset under numpy's indexing, read when they are indexed.

      x = reader.view('resid_post.6')
      x.shape, x.dtype, len(x)
      x[0], x[-100:], x[::1000, :5], x[[3, 1, 4]], x[mask], np.asarray(x)

  Only the first axis is read in pieces: other indices are applied to whole rows.
  """

  def __init__(self, array: StoredArray):
    """Looks at one array."""
    self._array = array

  @property
  def shape(self) -> tuple[int, ...]:
    """`(N, ...)`."""
    return (self._array.rows, *self._array.spec.shape)

  @property
  def ndim(self) -> int:
    """Number of axes."""
    return len(self.shape)

  @property
  def size(self) -> int:
    """Number of elements."""
    return int(np.prod(self.shape))

  @property
  def dtype(self) -> np.dtype:
    """The dtype in which rows are read."""
    return self._array.spec.np_dtype

  def __len__(self) -> int:
    return self._array.rows

  def __repr__(self) -> str:
    return f'ArrayView({self._array.spec.name!r}, {self.shape}, {self.dtype})'

  def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    if copy is False:
      raise ValueError('The array is on disk: it cannot be had without a copy.')
    return self[:].astype(dtype or self.dtype, copy=False)

  def __getitem__(self, key: Any) -> np.ndarray | np.generic:
    """Rows, as numpy gives them.

    Raises:
      IndexError: if an index is out of range.
      DamagedError: if a chunk is damaged; it names the chunk.
    """
    first, *rest = key if isinstance(key, tuple) else (key,)
    if first is Ellipsis or first is None:
      raise IndexError('The first index must say which rows: a slice, or indices.')
    if not isinstance(first, slice):
      return self._pick(first, rest)
    start, stop, step = first.indices(len(self))
    wanted = range(start, stop, step)
    if not wanted:
      return self._array.read_slice(0, 0)[(slice(None), *rest)]
    if step == 1:
      return self._array.read_slice(start, stop)[(slice(None), *rest)]
    return self._array.read_rows(np.asarray(wanted))[(slice(None), *rest)]

  def _pick(self, first: Any, rest: list[Any]) -> np.ndarray | np.generic:
    """Rows by an index, indices or a mask."""
    # numpy turns them into indices and knows which are out of range.
    indices = np.arange(len(self))[first]
    rows = self._array.read_rows(indices.reshape(-1))
    rows = rows.reshape(*indices.shape, *rows.shape[1:])
    return rows[(*(slice(None) for _ in indices.shape), *rest)]
