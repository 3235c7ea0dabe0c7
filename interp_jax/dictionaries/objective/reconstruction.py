"""Reconstruction: how far outputs are from targets, of all features or of the first."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from interp_jax.core import unknown
from interp_jax.dictionaries import codes as codes_lib
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.objective.forward import Forward, spread, sum_squares
from interp_jax.dictionaries.objective.term import Scalar, Term

DIVISORS = ('examples', 'variance')


@dataclasses.dataclass(frozen=True)
class SquaredError(Term):
  """`coefficient * mean_b ||target - output||^2`, summed over the width.

  Attributes:
    coefficient: Weight.
    over: `'examples'` for that (SAELens, dictionary_learning); `'variance'` divides it
      by the batch's `mean_b ||target - mean(target)||^2`, which gives the batch's FVU
      (sparsify).
  """

  coefficient: Scalar = 1.0
  over: str = 'examples'
  name: ClassVar[str] = 'mse'

  def check(self, config: DictionaryConfig) -> None:
    if self.over not in DIVISORS:
      raise ValueError(unknown('divisor of the squared error', self.over, DIVISORS))

  def __call__(self, forward: Forward) -> Float[Array, '']:
    value = sum_squares(forward.error)
    if self.over == 'variance':
      value = value / spread(forward.targets)
    return self.coefficient * value


@dataclasses.dataclass(frozen=True)
class Matryoshka(Term):
  """The squared error of the first features alone, for several numbers of them.

      coefficient * sum_p mean_b ||target - output of features 0 .. p - 1||^2

  Early features then learn what is general, and are not broken up by later ones
  (Bussmann et al. 2025, 2503.17547). The squared error of all features is not part of
  it.

  Attributes:
    prefixes: Numbers of features, each below F.
    sampled: If positive, so many prefixes are drawn anew in every step instead, from a
      Pareto distribution cut off at F (Nabeshima 2024).
    exponent: Of that distribution: `P(p) ~ p^-(1 + exponent)`.
    coefficient: Weight of each.
  """

  prefixes: tuple[int, ...] = ()
  sampled: int = 0
  exponent: float = 0.5
  coefficient: Scalar = 1.0
  name: ClassVar[str] = 'matryoshka'

  def check(self, config: DictionaryConfig) -> None:
    F, prefixes = config.features, self.prefixes
    if bool(prefixes) == (self.sampled > 0):
      raise ValueError(
        f'Matryoshka: prefixes={prefixes} and sampled={self.sampled}; give one of them.'
      )
    rising = all(a < b for a, b in zip((0, *prefixes), (*prefixes, F), strict=True))
    if prefixes and not rising:
      raise ValueError(
        f'Matryoshka: prefixes={prefixes}; give rising numbers between 1 and {F - 1}, '
        'the number of features less 1. All features are in the squared error.'
      )

  def __call__(self, forward: Forward) -> Float[Array, '']:
    F = forward.config.features
    if self.sampled:
      widths = self._draw(forward.key, F)
      errors = jax.lax.map(lambda width: _error_of(forward, width), widths)
      return self.coefficient * jnp.sum(errors)
    if not isinstance(forward.codes, jax.Array) or forward.codes.ndim > 2:
      errors = [_error_of(forward, width) for width in self.prefixes]
    else:
      errors = self._nested(forward)
    return self.coefficient * sum(errors, jnp.zeros(()))

  def _draw(self, key: Any, features: int) -> Array:
    """Prefixes by inversion of the cut-off Pareto distribution."""
    least = features**-self.exponent
    u = jax.random.uniform(key, (self.sampled,))
    length = (1 - u * (1 - least)) ** (-1 / self.exponent)
    return jnp.clip(jnp.floor(length), 1, features - 1).astype(jnp.int32)

  def _nested(self, forward: Forward) -> list[Array]:
    """All prefixes for the price of one: each adds the features that it has more."""
    params, wiring = forward.params, forward.config.wiring
    output = params['b_dec'] + wiring.skip(params, forward.inputs)
    errors, first = [], 0
    for width in self.prefixes:
      part = forward.codes[:, first:width]
      output = output + wiring.linear_some(params, part, jnp.arange(first, width))
      errors.append(sum_squares(forward.targets - output))
      first = width
    return errors


def _error_of(forward: Forward, width: Any) -> Float[Array, '']:
  """The squared error of the first features."""
  params, wiring = forward.params, forward.config.wiring
  part = codes_lib.first_features(forward.codes, width)
  output = wiring.decode(params, part, forward.batch, forward.plan)
  return sum_squares(forward.targets - output - wiring.skip(params, forward.inputs))
