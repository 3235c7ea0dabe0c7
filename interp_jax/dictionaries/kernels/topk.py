"""TopK: encode to k of F features and decode from them, sparse and dense.

After the encoder's matrix product only k of F features carry anything, so the decoder
and all gradients are gathers and sums of rows: about `3 k / F` of the dense
arithmetic. Each sparse operation has a dense twin made of plain `jnp`, which autodiff
differentiates; the tests hold them equal.

Under `vmap` the sparse operations run one after the other: their branches stay
branches, and each has the cache for itself.
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
from jax.custom_batching import sequential_vmap
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float
import numpy as np

from interp_jax.dictionaries.kernels import largest, rows, sharded
from interp_jax.dictionaries.kernels.choice import resolve
from interp_jax.dictionaries.kernels.largest import Indices, Values

BLOCK_BYTES = 16 * 2**20  # Of pre-activations that stay in the cache of a CPU.


def block_rows(count: int, features: int, itemsize: int = 4) -> int:
  """How many rows to encode at once, so that what they make stays in the cache.

  Args:
    count: All rows.
    features: `F`.
    itemsize: Bytes of a pre-activation.

  Returns:
    The largest divisor of `count` whose block fits; at least 128, below which the
    matrix product suffers, or else all.
  """
  most = BLOCK_BYTES // (features * itemsize)
  sizes = range(128, min(count, max(most, 128)) + 1)
  return max((size for size in sizes if count % size == 0), default=count)


def _in_blocks(
  x: Array, center: Array, W_enc: Array, b: Array, k: int
) -> tuple[Array, Array]:
  """The k largest pre-activations, never with all pre-activations in memory."""
  count, features = x.shape[0], W_enc.shape[1]
  size = block_rows(count, features, x.dtype.itemsize)
  choose = lambda some: largest.select_by_index((some - center) @ W_enc, k, b)
  if size == count:
    return choose(x)
  parts = jax.lax.map(choose, x.reshape(-1, size, x.shape[1]))
  return parts[0].reshape(count, k), parts[1].reshape(count, k)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def sparse_encode(
  x: Float[Array, 'B D'],
  center: Float[Array, ' D'],
  W_enc: Float[Array, 'D F'],
  b: Float[Array, ' F'],
  k: int,
) -> tuple[Values, Indices]:
  """`TopK((x - center) W_enc + b)`, rectified: values and indices of k features.

  Args:
    x: The inputs.
    center: What is subtracted from each. An argument of its own because its gradient
      is one vector-matrix product, and not the sum of the gradients of x.
    W_enc: The encoder.
    b: The bias of each feature.
    k: How many features to keep.

  Returns:
    Values, zero where fewer than k pre-activations are positive, and their indices, by
    rising index.
  """
  chosen = sequential_vmap(functools.partial(_in_blocks, k=k))
  values, indices = chosen(x, center, W_enc, b)
  return jax.nn.relu(values), indices


def _encode_fwd(x: Array, center: Array, W_enc: Array, b: Array, k: int) -> tuple:
  values, indices = sparse_encode(x, center, W_enc, b, k)
  return (values, indices), (x, center, W_enc, values, indices)


def _encode_bwd(k: int, saved: tuple, cotangents: tuple) -> tuple:
  del k
  x, center, W_enc, values, indices = saved
  d_values = jnp.where(values > 0, cotangents[0], 0)
  d_W = _add_to_rows(W_enc.shape[1])(d_values, indices, x - center).T
  d_b = jnp.zeros(W_enc.shape[1], d_values.dtype).at[indices].add(d_values)
  # Never computed where x is data: jit removes it.
  d_x = sequential_vmap(rows.weighted_rows)(d_values, indices, W_enc.T)
  return d_x, -(W_enc @ d_b), d_W, d_b


sparse_encode.defvjp(_encode_fwd, _encode_bwd)


def _add_to_rows(features: int) -> Callable[..., Any]:
  return sequential_vmap(functools.partial(rows.add_to_rows, features=features))


@jax.custom_vjp
def sparse_decode(
  values: Values, indices: Indices, W_dec: Float[Array, 'F D']
) -> Float[Array, 'B D']:
  """`z W_dec` for codes z that are `values` at `indices` and zero elsewhere."""
  return sequential_vmap(rows.weighted_rows)(values, indices, W_dec)


def _decode_fwd(values: Array, indices: Array, W_dec: Array) -> tuple:
  return sparse_decode(values, indices, W_dec), (values, indices, W_dec)


def _decode_bwd(saved: tuple, d_out: Array) -> tuple:
  values, indices, W_dec = saved
  d_values = sequential_vmap(rows.row_products)(d_out, indices, W_dec)
  d_W = _add_to_rows(W_dec.shape[0])(values, indices, d_out)
  return d_values, np.zeros(indices.shape, jax.dtypes.float0), d_W


sparse_decode.defvjp(_decode_fwd, _decode_bwd)


def dense_encode(
  x: Float[Array, 'B D'],
  center: Float[Array, ' D'],
  W_enc: Float[Array, 'D F'],
  b: Float[Array, ' F'],
  k: int,
) -> tuple[Values, Indices]:
  """The reference of `sparse_encode`, differentiated by autodiff; largest first."""
  values, indices = jax.lax.top_k((x - center) @ W_enc + b, k)
  return jax.nn.relu(values), indices


def dense_decode(
  values: Values, indices: Indices, W_dec: Float[Array, 'F D']
) -> Float[Array, 'B D']:
  """The reference of `sparse_decode`: scatters the codes, then a matrix product."""
  return rows.scatter_dense(values, indices, W_dec.shape[0]) @ W_dec


def encode_topk(
  x: Float[Array, 'B D'],
  center: Float[Array, ' D'],
  W_enc: Float[Array, 'D F'],
  b: Float[Array, ' F'],
  k: int,
  impl: str = 'auto',
  mesh: Mesh | None = None,
) -> tuple[Values, Indices]:
  """The values and indices of the k active features of each row.

  Args:
    x: The inputs.
    center: What is subtracted from each.
    W_enc: The encoder.
    b: The bias of each feature.
    k: How many features to keep.
    impl: As in `resolve`.
    mesh: Where the features are split over its `model` axis; then as in `sharded`.

  Returns:
    As `sparse_encode`; the dense one gives the largest first.
  """
  chosen = resolve(impl)
  if mesh is not None:
    return sharded.encode(x, center, W_enc, b, k, chosen, mesh)
  encode = sparse_encode if chosen == 'sparse' else dense_encode
  return encode(x, center, W_enc, b, k)


def decode_topk(
  values: Values,
  indices: Indices,
  W_dec: Float[Array, 'F D'],
  impl: str = 'auto',
  mesh: Mesh | None = None,
) -> Float[Array, 'B D']:
  """`sparse_decode` or `dense_decode`, as `resolve(impl)` says, or `sharded`."""
  chosen = resolve(impl)
  if mesh is not None:
    return sharded.decode(values, indices, W_dec, chosen, mesh)
  return (sparse_decode if chosen == 'sparse' else dense_decode)(values, indices, W_dec)
