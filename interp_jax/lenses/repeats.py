"""Random tokens that repeat: the text on which induction heads are looked for.

The period is drawn anew for every row. With one constant period a head that always
looks the same distance back passes for an induction head.
"""

from collections.abc import Sequence
import dataclasses

from jaxtyping import Bool
import numpy as np


@dataclasses.dataclass(frozen=True)
class RepeatedTokens:
  """Rows of random tokens that repeat, each with a period of its own.

  Attributes:
    tokens: `[B, T]`: `[BOS]`, a block of tokens all different, the block again and
      again.
    periods: Length of each row's block, `[B]`.
    bos: 1 where rows begin with a BOS token, else 0.
  """

  tokens: np.ndarray
  periods: np.ndarray
  bos: int

  @property
  def first_copy(self) -> Bool[np.ndarray, 'B T']:
    """Where the first copy of the block is: nothing can be known there."""
    return self._copy(0)

  @property
  def second_copy(self) -> Bool[np.ndarray, 'B T']:
    """Where the second copy is: every token has exactly one earlier occurrence."""
    return self._copy(1)

  def _copy(self, number: int) -> np.ndarray:
    offset = np.arange(self.tokens.shape[1]) - self.bos
    return (offset >= 0) & (offset // self.periods[:, None] == number)


def repeated_tokens(
  batch: int,
  vocab_size: int,
  bos_id: int | None = None,
  periods: tuple[int, int] = (16, 64),
  exclude: Sequence[int] = (),
  seed: int = 0,
) -> RepeatedTokens:
  """Draws rows of repeated random tokens, long enough for two copies in every row.

  Args:
    batch: The number of rows.
    vocab_size: Tokens are drawn below it.
    bos_id: The token that rows begin with; None for none.
    periods: Shortest and longest period; each row's is drawn uniformly.
    exclude: Tokens not to draw, e.g. other special ones.
    seed: Of the draws.

  Returns:
    The rows, of length `2 * longest period` and the BOS token.

  Raises:
    ValueError: if the vocabulary has too few tokens for a block without repeats.
  """
  low, high = periods
  special = [*exclude] if bos_id is None else [*exclude, bos_id]
  allowed = np.setdiff1d(np.arange(vocab_size), special)
  if not 1 <= low <= high <= allowed.size:
    raise ValueError(
      f'periods is {periods}: give 1 <= shortest <= longest <= {allowed.size}, the '
      'number of tokens to draw from, since no token comes twice in a block.'
    )
  rng = np.random.default_rng(seed)
  lengths = rng.integers(low, high + 1, batch)
  bos = int(bos_id is not None)
  tokens = np.full((batch, bos + 2 * high), bos_id or 0, np.int32)
  for row, length in zip(tokens, lengths, strict=True):
    block = rng.choice(allowed, length, replace=False)
    row[bos:] = np.resize(block, 2 * high)
  return RepeatedTokens(tokens, lengths, bos)
