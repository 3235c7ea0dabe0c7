"""TopK and BatchTopK where the features are split over devices.

Left to XLA, a top-k along a split axis gathers the pre-activations of all features on
every device. Here each device keeps the k largest of its own features, only these
candidates are exchanged (`model` times k numbers a row in place of F), and all choose
the same k of them. Decoding and both weight gradients use a device's own rows only;
outputs are summed over `model`, weight gradients over `data`.

For use under `jit`, on a mesh with the axes of `sharding.make_mesh`: inputs are split
over `data`; `W_enc`, `b_enc` and `W_dec` over `model` along the features.
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int
import numpy as np

from interp_jax.dictionaries.kernels import largest, pairs, rows
from interp_jax.dictionaries.kernels.largest import Indices, Values
from interp_jax.sharding import DATA, MODEL

ROWS, WHOLE = P(DATA), P()
W_ENC, B_ENC, W_DEC = P(None, MODEL), P(MODEL), P(MODEL)


def _own(indices: Array, features: int) -> tuple[Array, Array]:
  """Indices among this device's features, and which of them are its own."""
  local = indices - jax.lax.axis_index(MODEL) * features
  own = (local >= 0) & (local < features)
  return jnp.where(own, local, 0), own


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def encode(
  x: Float[Array, 'B D'],
  center: Float[Array, ' D'],
  W_enc: Float[Array, 'D F'],
  b: Float[Array, ' F'],
  k: int,
  impl: str,
  mesh: Mesh,
) -> tuple[Values, Indices]:
  """As `topk.sparse_encode`: values, rectified, and indices by rising index.

  Args:
    x: The inputs, split over `data`.
    center: What is subtracted from each.
    W_enc: The encoder, split over `model`.
    b: The biases, split over `model`.
    k: How many features to keep.
    impl: `'sparse'` or `'dense'`: how each device computes its part of the gradients.
    mesh: The mesh.
  """

  def local(x: Array, center: Array, W_enc: Array, b: Array) -> tuple[Array, Array]:
    features = b.shape[0]
    pre = (x - center) @ W_enc + b
    # Selecting by bits is for CPUs; of equal values both take the one of lower index.
    select = largest.select_by_index if impl == 'sparse' else largest.select
    values, indices = select(pre, min(k, features))
    indices = indices + jax.lax.axis_index(MODEL) * features
    gather = functools.partial(jax.lax.all_gather, axis_name=MODEL, axis=1, tiled=True)
    values, indices = gather(values), gather(indices)
    # Device by device equal values are in the order of their indices, so that ties are
    # decided as on one device.
    values, chosen = select(values, k)
    return jax.nn.relu(values), largest.take(indices, chosen)

  split = (ROWS, WHOLE, W_ENC, B_ENC)
  return _map(local, mesh, split, (ROWS, ROWS))(x, center, W_enc, b)


def _map(
  function: Callable[..., Any], mesh: Mesh, inputs: tuple, outputs: Any
) -> Callable[..., Any]:
  return jax.shard_map(
    function, mesh=mesh, in_specs=inputs, out_specs=outputs, check_vma=False
  )


def _add(
  values: Array, indices: Array, vectors: Array, features: int, impl: str
) -> Array:
  """`sum values * vectors` for each feature, values outside of it being 0."""
  if impl == 'sparse':
    return rows.add_to_rows(values, indices, vectors, features)
  return rows.scatter_dense(values, indices, features).T @ vectors


def _sum_rows(values: Array, indices: Array, matrix: Array, impl: str) -> Array:
  if impl == 'sparse':
    return rows.weighted_rows(values, indices, matrix)
  return rows.scatter_dense(values, indices, matrix.shape[0]) @ matrix


def _encode_fwd(
  x: Array, center: Array, W_enc: Array, b: Array, k: int, impl: str, mesh: Mesh
) -> tuple:
  values, indices = encode(x, center, W_enc, b, k, impl, mesh)
  return (values, indices), (x, center, W_enc, values, indices)


def _encode_bwd(
  k: int, impl: str, mesh: Mesh, saved: tuple, cotangents: tuple
) -> tuple:
  del k
  x, center, W_enc, values, indices = saved
  d_values = jnp.where(values > 0, cotangents[0], 0)

  def local(
    x: Array, center: Array, W_enc: Array, d_values: Array, indices: Array
  ) -> tuple[Array, ...]:
    features = W_enc.shape[1]
    index, own = _own(indices, features)
    mine = jnp.where(own, d_values, 0)
    d_W = jax.lax.psum(_add(mine, index, x - center, features, impl), DATA).T
    d_b = jax.lax.psum(jnp.zeros(features, mine.dtype).at[index].add(mine), DATA)
    d_center = -jax.lax.psum(W_enc @ d_b, MODEL)
    # Never computed where x is data: jit removes it.
    d_x = jax.lax.psum(_sum_rows(mine, index, W_enc.T, impl), MODEL)
    return d_x, d_center, d_W, d_b

  inputs = (ROWS, WHOLE, W_ENC, ROWS, ROWS)
  back = _map(local, mesh, inputs, (ROWS, WHOLE, W_ENC, B_ENC))
  return back(x, center, W_enc, d_values, indices)


encode.defvjp(_encode_fwd, _encode_bwd)


def decode(
  values: Values, indices: Indices, W_dec: Float[Array, 'F D'], impl: str, mesh: Mesh
) -> Float[Array, 'B D']:
  """As `topk.sparse_decode`, with `W_dec` split over `model`."""
  alone = (values[:, None], indices[:, None], (W_dec[:, None],))
  return decode_layers(*alone, impl, mesh)[:, 0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def decode_layers(
  values: Float[Array, 'B L k'],
  indices: Int[Array, 'B L k'],
  weights: tuple[Array, ...],
  impl: str,
  mesh: Mesh,
) -> Float[Array, 'B L D']:
  """What the codes of all layers write to their own and to all later layers.

  Each device adds up what its features write before anything is sent: one sum over
  `model` of `[B, L, D]`, however many layers write to a layer.

  Args:
    values: The codes of each layer.
    indices: The features that they are of.
    weights: `[F, L - l, D]` of each layer l, split over `model`.
    impl: As in `encode`.
    mesh: The mesh.
  """

  def local(values: Array, indices: Array, *weights: Array) -> Array:
    layers = len(weights)
    shape = (values.shape[0], layers, weights[0].shape[-1])
    total = jnp.zeros(shape, jnp.result_type(values, weights[0]))
    for layer, W_dec in enumerate(weights):
      index, own = _own(indices[:, layer], W_dec.shape[0])
      mine = jnp.where(own, values[:, layer], 0)
      part = _sum_rows(mine, index, _flat(W_dec), impl)
      total = total.at[:, layer:].add(part.reshape(-1, *W_dec.shape[1:]))
    return jax.lax.psum(total, MODEL)

  split = (ROWS, ROWS, *[W_DEC] * len(weights))
  return _map(local, mesh, split, ROWS)(values, indices, *weights)


def _flat(W_dec: Array) -> Array:
  """All that a feature writes, as one row."""
  return W_dec.reshape(W_dec.shape[0], -1)


def _decode_fwd(
  values: Array, indices: Array, weights: tuple[Array, ...], impl: str, mesh: Mesh
) -> tuple:
  out = decode_layers(values, indices, weights, impl, mesh)
  return out, (values, indices, weights)


def _decode_bwd(impl: str, mesh: Mesh, saved: tuple, d_out: Array) -> tuple:
  values, indices, weights = saved

  def local(values: Array, indices: Array, d_out: Array, *weights: Array) -> tuple:
    d_values, d_weights = [], []
    for layer, W_dec in enumerate(weights):
      features, vectors = W_dec.shape[0], _flat(d_out[:, layer:])
      index, own = _own(indices[:, layer], features)
      if impl == 'sparse':
        products = rows.row_products(vectors, index, _flat(W_dec))
      else:
        products = largest.take(vectors @ _flat(W_dec).T, index)
      d_values.append(jnp.where(own, products, 0))
      mine = jnp.where(own, values[:, layer], 0)
      d_W = _add(mine, index, vectors, features, impl)
      d_weights.append(jax.lax.psum(d_W.reshape(W_dec.shape), DATA))
    return jax.lax.psum(jnp.stack(d_values, 1), MODEL), tuple(d_weights)

  split = [W_DEC] * len(weights)
  back = _map(local, mesh, (ROWS, ROWS, ROWS, *split), (ROWS, tuple(split)))
  d_values, d_weights = back(values, indices, d_out, *weights)
  return d_values, np.zeros(indices.shape, jax.dtypes.float0), d_weights


decode_layers.defvjp(_decode_fwd, _decode_bwd)


def batch_topk_mask(
  pre: Float[Array, 'B F'], count: Any, mesh: Mesh
) -> Bool[Array, 'B F']:
  """`pairs.batch_topk_mask` of pre-activations split over `data` and `model`."""
  split = P(DATA, MODEL)
  local = functools.partial(pairs.batch_topk_mask, data=DATA, model=MODEL)
  return _map(local, mesh, (split, WHOLE), split)(pre, jnp.asarray(count))


def largest_of_batch(
  pre: Float[Array, 'B F'], count: Any, mesh: Mesh | None
) -> Bool[Array, 'B F']:
  """Which are the `count` largest of a whole batch, on one device or on a mesh.

  Args:
    pre: Pre-activations; no gradient goes through the choice.
    count: How many; may be traced.
    mesh: The mesh that they are split over, or None.
  """
  pre = jax.lax.stop_gradient(pre)
  if mesh is None:
    return pairs.batch_topk_mask(pre, count)
  return batch_topk_mask(pre, count, mesh)
