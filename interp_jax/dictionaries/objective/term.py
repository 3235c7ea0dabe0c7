"""What a term of the objective is."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.objective.forward import Forward

Scalar = float | int | jax.Array
"""A number of a term; in a sweep, where members differ in it, a traced one."""


@dataclasses.dataclass(frozen=True)
class Term:
  """A scalar to be added to the loss, as plain, frozen data.

  It is called with what one forward pass knows and averages over the batch, so that the
  split of a batch over devices changes nothing. A term may have a state, a pytree that
  changes from step to step.
  """

  name: ClassVar[str]

  @property
  def of_all(self) -> bool:
    """Whether features that are not active, and get no gradient, count as well."""
    return False

  def __call__(self, forward: Forward) -> Float[Array, '']:
    """The term, with its coefficient."""
    raise NotImplementedError

  def check(self, config: DictionaryConfig) -> None:
    """Raises ValueError where the term makes no sense for a dictionary."""

  def init_state(self) -> Any:
    """The state before the first step; None for none."""
    return None

  def observe(self, forward: Forward) -> Any:
    """What the next state depends on: means over the batch; None for nothing."""
    return None

  def next_state(self, state: Any, observed: Any, step: Any) -> Any:
    """The state after a step.

    Args:
      state: The state before.
      observed: What `observe` gave, averaged over the parts of the batch.
      step: The number of updates made before.
    """
    return state


def ramp(step: Any, warmup: int = 0, fall: tuple[int, int] | None = None) -> Any:
  """The share of a coefficient that holds at a step.

  Args:
    step: The number of updates made.
    warmup: Over so many steps it rises from 0, at the first, to 1.
    fall: From the first to the second of these steps it falls from 1 to 0.
  """
  step = jnp.asarray(step, float)  # int32 divided by a number is float32 always.
  share = jnp.minimum(1.0, step / warmup) if warmup else jnp.ones(())
  if fall is not None:
    first, last = fall
    share = share * jnp.clip((last - step) / max(last - first, 1), 0.0, 1.0)
  return jax.lax.stop_gradient(share)
