"""The unit-norm decoder as an optax transformation.

Without it, codes can shrink while decoder rows grow: an L1 penalty is then evaded, and
the size of a code means nothing.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float
import optax


def unit_rows(W: Float[Array, 'F D']) -> Float[Array, 'F D']:
  """The rows, each divided by its norm."""
  return W / jnp.maximum(jnp.linalg.norm(W, axis=-1, keepdims=True), 1e-12)


def project_gradient(name: str = 'W_dec') -> optax.GradientTransformation:
  """Removes from the gradient of each row its part along the row.

  That part would only change the norm, which `renormalize` restores, but it would
  stay in Adam's moments (Bricken et al. 2023, appendix).

  Args:
    name: The parameter.

  Returns:
    The transformation, to stand before the optimiser.
  """

  def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
    rows = unit_rows(params[name])
    along = jnp.sum(updates[name] * rows, -1, keepdims=True)
    return updates | {name: updates[name] - along * rows}, state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def renormalize(name: str = 'W_dec') -> optax.GradientTransformation:
  """Changes the update so that the updated rows have norm 1.

  Args:
    name: The parameter.

  Returns:
    The transformation, to stand last.
  """

  def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
    moved = unit_rows(params[name] + updates[name])
    return updates | {name: moved - params[name]}, state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
