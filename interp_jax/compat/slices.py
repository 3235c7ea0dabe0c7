"""TransformerLens's slices: None, an index, `(start, stop, step)`, or a list."""

from collections.abc import Sequence
from typing import Any

import numpy as np

SliceInput = None | int | slice | tuple | Sequence[int] | np.ndarray


def take(x: Any, chosen: SliceInput, axis: int) -> Any:
  """What a slice chooses of an axis; an index takes the axis away.

  Args:
    x: An array.
    chosen: None for all, an index, a tuple of the arguments of `slice`, a slice, or a
      list or array of indices.
    axis: The axis.

  Returns:
    The part of the array.
  """
  if chosen is None:
    return x
  index: list[Any] = [slice(None)] * x.ndim
  if isinstance(chosen, tuple):
    index[axis] = slice(*chosen)
  elif isinstance(chosen, int | slice):
    index[axis] = chosen
  else:
    index[axis] = np.asarray(chosen)
  return x[tuple(index)]
