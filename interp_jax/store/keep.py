"""Which rows to keep when a dataset is read."""

from collections.abc import Callable
import dataclasses
from typing import Any

from jaxtyping import Bool, Int
import numpy as np

# Document, position and token of rows `[n, 3]` -> which of them to keep, `[n]`.
Predicate = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Keep:
  """Leaves out rows by where they come from: BOS, padding, anything else.

  A row is kept if nothing here speaks against it. `Keep(not_tokens=(0,))` drops the
  rows of token 0, `Keep(where=lambda p: p[:, 0] < 100)` keeps the first documents.

  Attributes:
    not_tokens: Token ids to leave out.
    not_positions: Positions to leave out.
    where: From document, position and token of rows, `[n, 3]`, to which of them to
      keep, bool `[n]`. It must depend on nothing else.
  """

  not_tokens: tuple[int, ...] = ()
  not_positions: tuple[int, ...] = ()
  where: Predicate | None = None

  def __call__(self, provenance: Int[np.ndarray, 'n 3']) -> Bool[np.ndarray, 'n']:
    """Which of these rows are kept.

    Raises:
      ValueError: if `where` gives something else than a bool for each row.
    """
    _, position, token = provenance.T
    kept = ~np.isin(token, self.not_tokens) & ~np.isin(position, self.not_positions)
    if self.where is None:
      return kept
    asked = np.asarray(self.where(provenance))
    if asked.dtype != bool or asked.shape != kept.shape:
      raise ValueError(
        f'where must give a bool for each row, {kept.shape}, not {asked.dtype} '
        f'{asked.shape}.'
      )
    return kept & asked

  def to_json(self) -> dict[str, Any]:
    """As plain data, a function by its name: to notice that a filter is another one."""
    where = self.where and getattr(self.where, '__qualname__', repr(self.where))
    return {
      'not_tokens': [*self.not_tokens],
      'not_positions': [*self.not_positions],
      'where': where,
    }
