"""Reconstruction: how far outputs are from targets, of all features or of the first."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from interp_jax.core import unknown
from interp_jax.dictionaries import codes as codes_lib
from interp_jax.dictionaries.activation import BatchTopK, TopK
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


@dataclasses.dataclass(frozen=True)
class MultiTopK(Term):
  """The squared error with several times as many active features.

      coefficient * mean_b ||target - output of the factor * k largest||^2

  A dictionary that is trained for one k alone gets worse with more features than that;
  this keeps it useful for any number (Gao et al. 2024, 2406.04093, Multi-TopK: the sum
  of the errors at k and, times 1/8, at 4 k).

  Attributes:
    coefficient: Weight.
    factor: How many times k features.
    over: As in `SquaredError`.
    gradients: What learns from it: `'all'`; or `'decoder'`, `W_dec` and `b_dec` as the
      output's bias (sparsify).
  """

  coefficient: Scalar = 1 / 8
  factor: int = 4
  over: str = 'examples'
  gradients: str = 'all'
  name: ClassVar[str] = 'multi_topk'

  def check(self, config: DictionaryConfig) -> None:
    for kind, given, allowed in (
      ('divisor of multi_topk', self.over, DIVISORS),
      ('gradients of multi_topk', self.gradients, ('all', 'decoder')),
    ):
      if given not in allowed:
        raise ValueError(unknown(kind, given, allowed))
    if not isinstance(config.activation, TopK | BatchTopK):
      raise ValueError(
        'The term multi_topk asks for several times k features, and the activation '
        f'{config.activation.name!r} does not choose k. Use topk, abstopk or batchtopk.'
      )

  def __call__(self, forward: Forward) -> Float[Array, '']:
    params, wiring, plan = forward.params, forward.config.wiring, forward.plan
    activation = forward.config.activation
    assert isinstance(activation, TopK | BatchTopK)  # `check` saw to it.
    k: Any = min(self.factor * activation.k, forward.config.features)
    more = dataclasses.replace(activation, k=k)
    if plan.limit is not None:
      plan = dataclasses.replace(plan, limit=self.factor * plan.limit)
    read = jax.lax.stop_gradient(params) if self.gradients == 'decoder' else params
    codes = more.encode(wiring, read, forward.inputs, plan).codes
    output = wiring.decode(params, codes, forward.batch, plan)
    output = output + wiring.skip(params, forward.inputs)
    value = sum_squares(forward.targets - output)
    if self.over == 'variance':
      value = value / spread(forward.targets)
    return self.coefficient * value


def _error_of(forward: Forward, width: Any) -> Float[Array, '']:
  """The squared error of the first features."""
  params, wiring = forward.params, forward.config.wiring
  part = codes_lib.first_features(forward.codes, width)
  output = wiring.decode(params, part, forward.batch, forward.plan)
  return sum_squares(forward.targets - output - wiring.skip(params, forward.inputs))
