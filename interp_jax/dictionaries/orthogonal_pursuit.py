"""Orthogonal matching pursuit: all codes are fitted again at every step.

After each choice the residual is what the least-squares fit of all directions chosen
so far leaves of `x - b_dec` (Pati, Rezaiifar & Krishnaprasad 1993), so that none is
chosen twice. Directions are chosen as in `matching_pursuit`, by the largest positive
product; codes may come out negative, as least squares has no sign.

No system is solved in a step. Each row keeps an orthonormal basis q of the span of its
choices, to which a step adds one vector; the residual loses its component along that
one. At the end, with `R_ij = q_i.w_j` upper triangular, the codes solve
`R z = [q_i.(x - b_dec)]`.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# A direction with less than this share of its length outside the span is in it.
DEPENDENT = 1e-5


class _State(NamedTuple):
  """Of all rows, after `step` steps."""

  step: Array
  residual: Float[Array, 'B D']
  basis: Float[Array, 'B k D']
  indices: Int[Array, 'B k']
  taken: Bool[Array, 'B k']
  done: Bool[Array, ' B']


def products(
  residual: Float[Array, 'B D'], directions: Float[Array, 'F D']
) -> Float[Array, 'B F']:
  """How much each residual has of each direction."""
  # In float32 throughout: accelerators would round the factors to fewer bits.
  return jnp.matmul(residual, directions.T, precision=jax.lax.Precision.HIGHEST)


@functools.partial(jax.jit, static_argnames=('max_atoms',))
def pursue_orthogonally(
  centred: Float[Array, 'B D'],
  W_dec: Float[Array, 'F D'],
  max_atoms: int,
  residual_threshold: float | Float[Array, ''] = 0.0,
) -> tuple[Float[Array, 'B k'], Int[Array, 'B k'], Float[Array, ' B']]:
  """Orthogonal matching pursuit of a batch.

  A row stops when no direction outside of its span has a positive product with its
  residual. The bases take `[B, k, D]` numbers.

  Args:
    centred: What to take apart, `x - b_dec`.
    W_dec: The directions.
    max_atoms: Most steps, k.
    residual_threshold: A row whose residual has a smaller norm stops; 0 for never.

  Returns:
    The codes of the chosen features, in the order in which they were chosen, which
    these are, and the norms that are left. A row that has stopped has zeros.
  """
  lengths = jnp.linalg.norm(W_dec, axis=-1, keepdims=True)
  directions = W_dec / jnp.where(lengths > 0, lengths, 1)

  def step(state: _State) -> _State:
    at, residual, basis, indices, taken, done = state
    chosen = jnp.argmax(jax.nn.relu(products(residual, directions)), -1)
    new = _outside(directions[chosen], basis)
    amount = jnp.sum(residual * new, -1)
    takes = ~done & (amount > 0)
    new = jnp.where(takes[:, None], new, 0)
    residual = residual - jnp.sum(residual * new, -1, keepdims=True) * new
    small = jnp.linalg.norm(residual, axis=-1) < residual_threshold
    return _State(
      step=at + 1,
      residual=residual,
      basis=basis.at[:, at].set(new),
      indices=indices.at[:, at].set(chosen),
      taken=taken.at[:, at].set(takes),
      done=~takes | small,
    )

  rows, width = centred.shape
  start = _State(
    step=jnp.array(0),
    residual=centred,
    basis=jnp.zeros((rows, max_atoms, width), centred.dtype),
    indices=jnp.zeros((rows, max_atoms), int),
    taken=jnp.zeros((rows, max_atoms), bool),
    done=jnp.zeros(rows, bool),
  )
  end = jax.lax.while_loop(
    lambda state: (state.step < max_atoms) & ~jnp.all(state.done), step, start
  )
  values = _codes(end, centred, W_dec)
  return values, end.indices, jnp.linalg.norm(end.residual, axis=-1)


def _outside(units: Float[Array, 'B D'], basis: Float[Array, 'B k D']) -> Array:
  """What of each unit vector is outside of a span, at length 1; 0 if nothing is."""
  for _ in range(2):  # Once leaves rounding of the size of what it removes.
    inside = jnp.einsum('bd,bkd->bk', units, basis)
    units = units - jnp.einsum('bk,bkd->bd', inside, basis)
  lengths = jnp.linalg.norm(units, axis=-1, keepdims=True)
  return jnp.where(lengths > DEPENDENT, units / jnp.where(lengths > 0, lengths, 1), 0)


def _codes(
  end: _State, centred: Float[Array, 'B D'], W_dec: Float[Array, 'F D']
) -> Float[Array, 'B k']:
  """The solutions of the triangular systems."""
  taken = end.taken
  chosen = jnp.where(taken[..., None], W_dec[end.indices], 0)
  triangle = jnp.triu(jnp.einsum('bid,bjd->bij', end.basis, chosen))
  # What was not taken has an equation of its own, with the solution 0.
  alone = jnp.where(taken, 0, 1)[..., None] * jnp.eye(taken.shape[1])
  amounts = jnp.einsum('bid,bd->bi', end.basis, centred)
  triangle = triangle + alone.astype(centred.dtype)
  return jax.scipy.linalg.solve_triangular(triangle, amounts[..., None])[..., 0]
