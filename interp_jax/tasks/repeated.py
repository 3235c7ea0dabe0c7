"""Random tokens that repeat with a random period, drawn on the device.

A row is a BOS token, a block of random tokens, and the block again until the row is
full. Nothing can be known of the first copy. Afterwards the next token is the one that
followed the same token before, which is what an induction head looks up. The period is
another one in every row: with one period for all, a head that always looks equally far
back does as well, without looking at tokens at all.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int


@dataclasses.dataclass(frozen=True)
class RepeatedBlocks:
  """The distribution of such rows.

  Attributes:
    symbols: How many tokens blocks are drawn from, each uniformly: ids below it.
    length: Tokens in a row, BOS included.
    periods: Lengths of blocks; each row's is drawn from them uniformly.
  """

  symbols: int
  length: int
  periods: tuple[int, ...]

  def __post_init__(self):
    """Refuses periods that leave nothing to repeat."""
    if not all(1 <= period <= self.length - 2 for period in self.periods or (0,)):
      raise ValueError(
        f'RepeatedBlocks: periods is {self.periods}; give numbers from 1 to '
        f'{self.length - 2}, so that of {self.length} tokens at least one repeats.'
      )
    if self.symbols < 2:
      raise ValueError(
        f'RepeatedBlocks: symbols is {self.symbols}; give at least 2, or nothing is '
        'random.'
      )

  @property
  def bos_id(self) -> int:
    """The token that rows begin with, the last of the vocabulary."""
    return self.symbols

  @property
  def vocab_size(self) -> int:
    """Number of tokens of a model, BOS included."""
    return self.symbols + 1

  def draw(self, key: jax.Array, rows: int) -> Int[Array, 'B T']:
    """Fresh rows; pure, and so part of a compiled step.

    Args:
      key: Of the draws.
      rows: How many.
    """
    of_period, of_block = jax.random.split(key)
    period = jax.random.choice(of_period, jnp.array(self.periods), (rows, 1))
    block = jax.random.randint(of_block, (rows, max(self.periods)), 0, self.symbols)
    place = jnp.arange(self.length - 1) % period
    repeated = jnp.take_along_axis(block, place, 1)
    return jnp.pad(repeated, ((0, 0), (1, 0)), constant_values=self.bos_id)
