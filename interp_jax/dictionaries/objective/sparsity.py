"""Sparsity: what it costs that features are active."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from interp_jax.core import unknown
from interp_jax.dictionaries import ste
from interp_jax.dictionaries.activation import JumpReLU
from interp_jax.dictionaries.codes import per_feature, values_of
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.objective.forward import Forward
from interp_jax.dictionaries.objective.term import Scalar, Term, ramp

Fall = tuple[int, int] | None
L0_SHAPES = ('linear', 'relative', 'quadratic')


@dataclasses.dataclass(frozen=True)
class L1(Term):
  """`coefficient * mean_b sum_f |codes_f| ||W_dec,f||`.

  Weighted by the decoder's norms (Templeton et al. 2024), so that it can also be used
  without the unit-norm constraint. For gated activations it is of the gate.

  Attributes:
    coefficient: Weight, beside a squared error that is summed over the width.
    warmup: Steps over which the weight rises from 0.
    fall: First and last step of a linear fall to 0; None for none.
    by_norm: Whether codes are weighted by the decoder's norms.
  """

  coefficient: Scalar = 1.0
  warmup: int = 0
  fall: Fall = None
  by_norm: bool = True
  name: ClassVar[str] = 'l1'

  def __call__(self, forward: Forward) -> Float[Array, '']:
    total = jnp.mean(forward.per_example(forward.weighted(self.by_norm)))
    return self.coefficient * ramp(forward.step, self.warmup, self.fall) * total


@dataclasses.dataclass(frozen=True)
class Tanh(Term):
  """`coefficient * mean_b sum_f tanh(scale |codes_f| ||W_dec,f||)`.

  A soft count of active features: unlike L1 it does not shrink large codes (Anthropic,
  January 2025 update; Ameisen et al. 2025).

  Attributes:
    coefficient: Weight.
    scale: How soon a code counts fully.
    warmup: As in `L1`.
    fall: As in `L1`.
    by_norm: As in `L1`.
  """

  coefficient: Scalar = 1.0
  scale: Scalar = 4.0
  warmup: int = 0
  fall: Fall = None
  by_norm: bool = True
  name: ClassVar[str] = 'tanh'

  def __call__(self, forward: Forward) -> Float[Array, '']:
    soft = jnp.tanh(self.scale * forward.weighted(self.by_norm))
    share = ramp(forward.step, self.warmup, self.fall)
    return self.coefficient * share * jnp.mean(forward.per_example(soft))


@dataclasses.dataclass(frozen=True)
class L0(Term):
  """The number of active features, through straight-through estimators (see `ste`).

  With `n_b` the number of active features of example b:

      linear      coefficient * mean_b n_b                      (Rajamanoharan 2024)
      relative    coefficient * (mean_b n_b / target - 1)^2     (dictionary_learning)
      quadratic   coefficient * mean_b (n_b - target)^2 2 / target      (Gemma Scope 2)

  Attributes:
    coefficient: Weight.
    target: How many features should be active; nothing to `'linear'`.
    shape: Which of these.
    warmup: As in `L1`.
    fall: As in `L1`.
    of_codes: Whether the estimator's window is laid around the codes instead of the
      pre-activations. Codes below the threshold are 0, so that only the half of the
      window above it is left; dictionary_learning trains so.
  """

  coefficient: Scalar = 1.0
  target: Scalar = 20.0
  shape: str = 'linear'
  warmup: int = 0
  fall: Fall = None
  of_codes: bool = False
  name: ClassVar[str] = 'l0'

  @property
  def of_all(self) -> bool:
    """The window around a code may hold 0, and then does so wherever there is none."""
    return self.of_codes

  def check(self, config: DictionaryConfig) -> None:
    if self.shape not in L0_SHAPES:
      raise ValueError(unknown('shape of the l0 term', self.shape, L0_SHAPES))
    if not isinstance(config.activation, JumpReLU):
      raise ValueError(
        'The term l0 learns thresholds, and the activation '
        f'{config.activation.name!r} has none. Use activation jumprelu, or the terms '
        'l1 or tanh.'
      )
    if self.shape != 'linear' and not 0 < self.target <= config.features:
      raise ValueError(
        f'l0: target={self.target} of {config.features} features; give a number above '
        '0 and at most that.'
      )

  def __call__(self, forward: Forward) -> Float[Array, '']:
    activation = forward.config.activation
    assert isinstance(activation, JumpReLU)  # `check` saw to it.
    which = forward.codes if self.of_codes else forward.encoded.pre
    z = values_of(which)
    threshold = per_feature(which, forward.params['threshold']).astype(z.dtype)
    to_input = activation.to_input and not self.of_codes
    above = ste.step(z, threshold, activation.bandwidth, to_input)
    count = forward.per_example(above)
    share = ramp(forward.step, self.warmup, self.fall)
    if self.shape == 'linear':
      value = jnp.mean(count)
    elif self.shape == 'relative':
      value = jnp.square(jnp.mean(count) / self.target - 1)
    else:
      value = jnp.mean(jnp.square(count - self.target)) * 2 / self.target
    return self.coefficient * share * value


@dataclasses.dataclass(frozen=True)
class PreActivation(Term):
  """`coefficient * mean_b sum_f [f dead] max(threshold_f - pre_f, 0) ||W_dec,f||`.

  Pulls the pre-activations of dead features up to their thresholds (Anthropic, January
  2025 update, there for all features).

  Attributes:
    coefficient: Weight; 3e-6 there.
    dead_after: Examples without activity after which a feature is dead; -1 for all
      features, dead or not.
  """

  coefficient: Scalar = 3e-6
  dead_after: int = 100_000
  name: ClassVar[str] = 'pre_activation'

  @property
  def of_all(self) -> bool:
    """It is about dead features."""
    return True

  def check(self, config: DictionaryConfig) -> None:
    if not isinstance(config.activation, JumpReLU):
      raise ValueError(
        'The term pre_activation pulls pre-activations up to thresholds, and the '
        f'activation {config.activation.name!r} has none. Use activation jumprelu, or '
        'the term auxk.'
      )

  def __call__(self, forward: Forward) -> Float[Array, '']:
    pre, params = forward.encoded.pre, forward.params
    below = jax.nn.relu(params['threshold'].astype(pre.dtype) - pre)
    dead = forward.idle > self.dead_after
    weights = dead * forward.config.wiring.norms(params)
    return self.coefficient * jnp.mean(forward.per_example(below * weights))
