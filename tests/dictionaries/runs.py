"""What tests of runs share: batches that are interrupted, comparisons of states."""

from typing import Any

import jax
import numpy as np


class StopsAt:
  """Batches that end in an interrupt."""

  def __init__(self, batches: Any, after: int):
    self._batches, self._left = batches, after
    self.get_state, self.set_state = batches.get_state, batches.set_state

  def __next__(self) -> Any:
    if not self._left:
      raise KeyboardInterrupt
    self._left -= 1
    return next(self._batches)


def assert_close(one: Any, other: Any, rtol: float, atol: float = 0) -> None:
  """That two trees have the same leaves, up to rounding."""
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def assert_same_bits(one: Any, other: Any) -> None:
  """That two trees have the same leaves."""
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
    np.testing.assert_array_equal(a, b)
