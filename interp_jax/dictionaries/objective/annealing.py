"""p-annealing: from L1 towards L0, by a norm whose exponent falls (Karvonen 2024)."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.objective.forward import Forward
from interp_jax.dictionaries.objective.term import Scalar, Term, ramp


@dataclasses.dataclass(frozen=True)
class Lp(Term):
  """`coefficient * strength * mean_b sum_f codes_f^p`, p falling in steps.

  p is `first` until step `start`, and goes through `updates` values, evenly spaced from
  `first` to `last`, from step `start` to step `end` (Karvonen et al. 2024, 2408.00113).
  With each change the strength is multiplied by the ratio of the term under the old p
  to that under the new one, as means over the last `window` steps, so that it stays as
  heavy as it was. For gated activations it is of the gate.

  Attributes:
    coefficient: Weight.
    start: The step of the first update, which leaves p at `first`.
    end: The step of the last update.
    first: The first p.
    last: The last p.
    updates: How many updates.
    window: Steps to compare the old and the new p over.
    root: Whether the p-th root of each example's sum is taken.
    warmup: Steps over which the weight rises from 0.
  """

  coefficient: Scalar = 0.1
  start: int = 15_000
  end: int = 30_000
  first: float = 1.0
  last: float = 0.0
  updates: int = 10
  window: int = 10
  root: bool = False
  warmup: int = 0
  name: ClassVar[str] = 'lp'

  def check(self, config: DictionaryConfig) -> None:
    if not (0 < self.updates <= self.end - self.start and 0 <= self.last <= self.first):
      raise ValueError(
        f'lp: updates={self.updates} from step {self.start} to step {self.end}, p from '
        f'{self.first} to {self.last}. Give at least one update, no more updates than '
        'steps, and 0 <= last <= first.'
      )

  @property
  def of_all(self) -> bool:
    """In the limit, p = 0, every feature counts: 0 to the power 0 is 1."""
    return True

  def init_state(self) -> Any:
    zeros = jnp.zeros((2, self.window))
    return {'strength': jnp.ones(()), 'recent': zeros, 'seen': jnp.zeros((), jnp.int32)}

  def exponents(self, step: Any) -> tuple[Any, Any, Any]:
    """P at a step, the next p, and how many updates were made before it."""
    at = np.linspace(self.start, self.end, self.updates).astype(int)
    values = np.linspace(self.first, self.last, self.updates)
    made = jnp.sum(jnp.asarray(at) < step)
    now = jnp.asarray([self.first, *values])[made]
    following = jnp.asarray([self.first, *values[1:], self.last])[made]
    return now, following, made

  def __call__(self, forward: Forward) -> Float[Array, '']:
    p, _, _ = self.exponents(forward.step)
    strength = self.coefficient * ramp(forward.step, self.warmup)
    strength = strength * forward.states[self.name]['strength']
    return strength * self._norm(forward, p)

  def _norm(self, forward: Forward, p: Any) -> Float[Array, '']:
    values = forward.sizes
    # The power's derivative is infinite at 0, where no feature is active.
    powers = jnp.where(values > 0, jnp.where(values > 0, values, 1) ** p, p == 0)
    total = forward.per_example(powers)
    if self.root:
      some = jnp.where(total > 0, total, 1)
      total = jnp.where(total > 0, some ** (1 / jnp.maximum(p, 1e-6)), 0)
    return jnp.mean(total)

  def observe(self, forward: Forward) -> Any:
    """The term under the p of now and under the next."""
    p, following, _ = self.exponents(forward.step)
    pair = jnp.stack([self._norm(forward, p), self._norm(forward, following)])
    return jax.lax.stop_gradient(pair)

  def next_state(self, state: Any, observed: Any, step: Any) -> Any:
    _, _, made = self.exponents(step)
    known = made > 0  # Before the first update there is no next p to compare with.
    recent = jnp.roll(state['recent'], -1, axis=1).at[:, -1].set(observed)
    recent = jnp.where(known, recent, state['recent'])
    seen = jnp.where(known, jnp.minimum(state['seen'] + 1, self.window), state['seen'])
    counted = jnp.arange(self.window) >= self.window - seen
    now, then = jnp.sum(jnp.where(counted, recent, 0), axis=1)
    _, _, after = self.exponents(step + 1)
    updated = known & (after > made)
    ratio = jnp.where(updated & (then > 0), now / jnp.where(then > 0, then, 1), 1.0)
    return {'strength': state['strength'] * ratio, 'recent': recent, 'seen': seen}
