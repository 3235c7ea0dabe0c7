"""Cases of which some are quick tests and the others slow ones."""

from collections.abc import Iterable
from typing import Any

import pytest


def slow_but(cases: Iterable[Any], *quick: Any) -> list[Any]:
  """The cases for `parametrize`, marked slow but for those that are named.

  Raises:
    ValueError: if one that is named is not among them.
  """
  cases = list(cases)
  for case in quick:
    if case not in cases:
      raise ValueError(f'{case!r} is not among the cases {cases}.')
  marks = lambda case: () if case in quick else pytest.mark.slow
  name = lambda case: case if isinstance(case, str) else str(case)
  return [pytest.param(case, marks=marks(case), id=name(case)) for case in cases]
