"""BatchTopK: the k B largest pre-activations of a batch (Bussmann et al. 2024).

Encode and decode as in `topk`, with lists of pairs in place of k codes a row.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

import jax
from jax.custom_batching import sequential_vmap
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from interp_jax.dictionaries.kernels import pairs as lists
from interp_jax.dictionaries.kernels.pairs import Pairs


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def sparse_encode_batch(
  x: Float[Array, 'B D'],
  center: Float[Array, ' D'],
  W_enc: Float[Array, 'D F'],
  b: Float[Array, ' F'],
  count: int,
) -> Pairs:
  """The `count` largest of `(x - center) W_enc + b` over the whole batch, rectified.

  Args:
    x: The inputs.
    center: What is subtracted from each.
    W_enc: The encoder.
    b: The bias of each feature.
    count: How many codes to keep: k B.

  Returns:
    A list of `count` codes, of which those are 0 that were not positive.
  """
  return sequential_vmap(functools.partial(_encode, count=count))(x, center, W_enc, b)


def _encode(x: Array, center: Array, W_enc: Array, b: Array, count: int) -> Pairs:
  chosen = lists.select_pairs((x - center) @ W_enc + b, count)
  return Pairs(jax.nn.relu(chosen.values), chosen.rows, chosen.features)


def _encode_fwd(x: Array, center: Array, W_enc: Array, b: Array, count: int) -> tuple:
  codes = sparse_encode_batch(x, center, W_enc, b, count)
  return codes, (x, center, W_enc, codes)


def _encode_bwd(count: int, saved: tuple, cotangent: Pairs) -> tuple:
  del count
  x, center, W_enc, codes = saved
  d_values = jnp.where(codes.values > 0, cotangent.values, 0)
  d_pre = dataclasses.replace(codes, values=d_values)
  return sequential_vmap(lists.encoder_gradients)(x, center, W_enc, d_pre)


sparse_encode_batch.defvjp(_encode_fwd, _encode_bwd)


def _add(features: int) -> Callable[..., Any]:
  return sequential_vmap(functools.partial(lists.add_pairs, features=features))


def _decode(batch: int) -> Callable[..., Any]:
  return sequential_vmap(functools.partial(lists.decode_pairs, batch=batch))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def sparse_decode_pairs(
  codes: Pairs, W_dec: Float[Array, 'F D'], batch: int
) -> Float[Array, 'B D']:
  """`z W_dec` for the codes z in a list of pairs.

  Args:
    codes: The list.
    W_dec: The decoder.
    batch: `B`.
  """
  return _decode(batch)(codes, W_dec)


def _decode_fwd(codes: Pairs, W_dec: Array, batch: int) -> tuple:
  return sparse_decode_pairs(codes, W_dec, batch), (codes, W_dec)


def _decode_bwd(batch: int, saved: tuple, d_out: Array) -> tuple:
  del batch
  codes, W_dec = saved
  d_values = sequential_vmap(lists.pair_products)(d_out, codes, W_dec)
  d_W = _add(W_dec.shape[0])(codes, d_out)
  none = lambda a: np.zeros(jnp.shape(a), jax.dtypes.float0)
  d_codes = jax.tree.map(none, codes)
  return dataclasses.replace(d_codes, values=d_values), d_W


sparse_decode_pairs.defvjp(_decode_fwd, _decode_bwd)


def dense_encode_batch(
  x: Float[Array, 'B D'],
  center: Float[Array, ' D'],
  W_enc: Float[Array, 'D F'],
  b: Float[Array, ' F'],
  count: int,
) -> Float[Array, 'B F']:
  """The reference of `sparse_encode_batch`: dense codes, by a sort of the batch."""
  pre = (x - center) @ W_enc + b
  values, indices = jax.lax.top_k(pre.reshape(-1), count)
  zeros = jnp.zeros(pre.size, pre.dtype)
  return zeros.at[indices].set(jax.nn.relu(values)).reshape(pre.shape)


def dense_pairs(codes: Pairs, batch: int, features: int) -> Float[Array, 'B F']:
  """Dense codes of a list of pairs."""
  zeros = jnp.zeros((batch, features), codes.values.dtype)
  return zeros.at[codes.rows, codes.features].add(codes.values)
