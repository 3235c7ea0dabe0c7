"""Constraints as optax transformations: unit-norm decoders, thresholds above zero.

Without the first, codes can shrink while decoder rows grow: an L1 penalty is then
evaded, and the size of a code means nothing. A row is all that a feature writes: the
axes of `W_dec` (or of each of its leaves) beyond the first.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import optax


def _over_row(W: Array) -> tuple[int, ...]:
  return tuple(range(1, W.ndim))


def unit_rows(W: Float[Array, 'F *out']) -> Float[Array, 'F *out']:
  """The rows, each divided by its norm."""
  squares = jnp.sum(jnp.square(W), _over_row(W), keepdims=True)
  return W / jnp.maximum(jnp.sqrt(squares), 1e-12)


def project_gradient(name: str = 'W_dec') -> optax.GradientTransformation:
  """Removes from the gradient of each row its part along the row.

  That part would only change the norm, which `renormalize` restores, but it would
  stay in Adam's moments (Bricken et al. 2023, appendix).

  Args:
    name: The parameter.

  Returns:
    The transformation, to stand before the optimiser.
  """

  def project(gradient: Array, W: Array) -> Array:
    rows = unit_rows(W)
    along = jnp.sum(gradient * rows, _over_row(W), keepdims=True)
    return gradient - along * rows

  def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
    projected = jax.tree.map(project, updates[name], params[name])
    return updates | {name: projected}, state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def renormalize(name: str = 'W_dec') -> optax.GradientTransformation:
  """Changes the update so that the updated rows have norm 1.

  Args:
    name: The parameter.

  Returns:
    The transformation, to stand last.
  """

  def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
    to_unit = lambda change, W: unit_rows(W + change) - W
    moved = jax.tree.map(to_unit, updates[name], params[name])
    return updates | {name: moved}, state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def keep_thresholds_positive(name: str = 'threshold') -> optax.GradientTransformation:
  """Changes the update so that thresholds do not fall below 0.

  Below 0, a JumpReLU would pass negative pre-activations. The projection leaves the
  gradient alone, so that a threshold at 0 can rise again.

  Args:
    name: The parameter; nothing is done where there is none.

  Returns:
    The transformation, to stand last.
  """

  def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
    if name not in updates:
      return updates, state
    lowest = -params[name]
    return updates | {name: jnp.maximum(updates[name], lowest)}, state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
