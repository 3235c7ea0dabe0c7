"""Matrix products with codes most of which are 0, however many are not.

For ReLU, JumpReLU and gated dictionaries nothing bounds how many features are active:
early in training half of them are, later some dozens. Both operations count, and take
the sparse way where no more than `room` a row are active on average, the dense way
where more are; the result is the same.

    pre = linear((x, center), W_enc, b, room)       # [B, F]
    out = decode_active(relu(pre), W_dec, room)     # [B, D]

Between the two everything is elementwise and left to autodiff.
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
from jax.custom_batching import sequential_vmap
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from interp_jax.dictionaries.kernels import pairs as lists


def _few(mask: Array, room: int) -> Array:
  return jnp.sum(mask, dtype=jnp.int32) <= room * mask.shape[0]


def _times(codes: Array, matrix: Array, room: int) -> Array:
  """`codes matrix`."""

  def sparse() -> Array:
    listed = lists.pairs_of(codes, room * codes.shape[0])
    return lists.decode_pairs(listed, matrix, codes.shape[0])

  return jax.lax.cond(_few(codes != 0, room), sparse, lambda: codes @ matrix)


def _transposed_times(codes: Array, vectors: Array, room: int) -> Array:
  """`codes^T vectors`."""

  def sparse() -> Array:
    listed = lists.pairs_of(codes, room * codes.shape[0])
    return lists.add_pairs(listed, vectors, codes.shape[1])

  return jax.lax.cond(_few(codes != 0, room), sparse, lambda: codes.T @ vectors)


def _times_where(needed: Array, vectors: Array, matrix: Array, room: int) -> Array:
  """`vectors matrix^T`, at least where it is needed; elsewhere that or 0."""

  def sparse() -> Array:
    count = room * needed.shape[0]
    row, feature, exists = lists.places(lists.words_of(needed), count)
    where = lists.Pairs(exists, row, feature)
    products = jnp.where(exists, lists.pair_products(vectors, where, matrix), 0)
    # What is filled in adds 0 to the first entry.
    zeros = jnp.zeros(needed.shape, products.dtype)
    return zeros.at[row, feature].add(products, mode='promise_in_bounds')

  return jax.lax.cond(_few(needed, room), sparse, lambda: vectors @ matrix.T)


def _one_by_one(function: Callable[..., Any], room: int) -> Callable[..., Any]:
  return sequential_vmap(functools.partial(function, room=room))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def decode_active(
  codes: Float[Array, 'B F'],
  W_dec: Float[Array, 'F D'],
  needed: Bool[Array, 'B F'],
  room: int,
) -> Float[Array, 'B D']:
  """`codes W_dec`, whose gradient of codes may be 0 where it is not needed.

  Args:
    codes: Dense codes.
    W_dec: The decoder.
    needed: Where the gradient of the codes is used: `codes != 0` for ReLU, whose
      derivative is 0 elsewhere; with a straight-through estimator, its window too.
    room: Codes a row, on average, up to which the sparse way is taken.
  """
  del needed
  return _one_by_one(_times, room)(codes, W_dec)


def _decode_fwd(codes: Array, W_dec: Array, needed: Array, room: int) -> tuple:
  return decode_active(codes, W_dec, needed, room), (codes, W_dec, needed)


def _decode_bwd(room: int, saved: tuple, d_out: Array) -> tuple:
  codes, W_dec, needed = saved
  d_codes = _one_by_one(_times_where, room)(needed, d_out, W_dec)
  d_W = _one_by_one(_transposed_times, room)(codes, d_out)
  return d_codes, d_W, None


decode_active.defvjp(_decode_fwd, _decode_bwd)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def encode_active(
  x: Float[Array, 'B D'],
  center: Float[Array, ' D'],
  W_enc: Float[Array, 'D F'],
  b: Float[Array, ' F'],
  room: int,
) -> Float[Array, 'B F']:
  """Pre-activations `(x - center) W_enc + b`, whose gradient is mostly 0.

  Args:
    x: The inputs.
    center: What is subtracted from each.
    W_enc: The encoder.
    b: The bias of each feature.
    room: Gradients a row that are not 0, on average, up to which the sparse way is
      taken.
  """
  return (x - center) @ W_enc + b


def _encode_fwd(x: Array, center: Array, W_enc: Array, b: Array, room: int) -> tuple:
  return encode_active(x, center, W_enc, b, room), (x, center, W_enc)


def _encode_bwd(room: int, saved: tuple, d_pre: Array) -> tuple:
  x, center, W_enc = saved
  d_W = _one_by_one(_transposed_times, room)(d_pre, x - center).T
  d_b = jnp.sum(d_pre, 0)
  # Never computed where x is data: jit removes it.
  return d_pre @ W_enc.T, -(W_enc @ d_b), d_W, d_b


encode_active.defvjp(_encode_fwd, _encode_bwd)


def room_of(features: int) -> int:
  """Codes a row, on average, up to which the sparse way is taken."""
  return max(features // 64, 1)


def encode_all(
  x: Float[Array, 'B D'],
  center: Float[Array, ' D'],
  W_enc: Float[Array, 'D F'],
  b: Float[Array, ' F'],
  sparse: bool,
) -> Float[Array, 'B F']:
  """All pre-activations, `(x - center) W_enc + b`.

  Args:
    x: The inputs.
    center: What is subtracted from each.
    W_enc: The encoder.
    b: The bias of each feature.
    sparse: Whether to use `encode_active`.
  """
  if sparse:
    return encode_active(x, center, W_enc, b, room_of(W_enc.shape[1]))
  # Equal to (x - center) W_enc + b, but the gradient of the centre goes through one
  # vector-matrix product, not through those of all inputs.
  held = jax.lax.stop_gradient(center)
  return (x - held) @ W_enc + (b + (held - center) @ W_enc)


def decode_all(
  codes: Float[Array, 'B F'],
  W_dec: Float[Array, 'F D'],
  needed: Bool[Array, 'B F'] | None,
  sparse: bool,
) -> Float[Array, 'B D']:
  """`codes W_dec` of dense codes.

  Args:
    codes: The codes.
    W_dec: The decoder.
    needed: As in `decode_active`; None for where codes are not 0.
    sparse: Whether to use it.
  """
  if not sparse:
    return codes @ W_dec
  needed = codes != 0 if needed is None else needed
  return decode_active(codes, W_dec, needed, room_of(W_dec.shape[0]))
