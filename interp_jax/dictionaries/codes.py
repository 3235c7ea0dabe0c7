"""Codes: which features are active in an example, and how much.

Dense codes are an array `[B, *C]`, where `C` is `(F,)`, or `(L, F)` for dictionaries
with an encoder in every layer. Where few features are active, codes may be sparse:

- `SparseCodes`, k values of each example, where an activation fixes their number;
- `Pairs`, a list of the codes of all examples, where it fixes that of a batch.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from interp_jax.dictionaries import kernels
from interp_jax.dictionaries.kernels import Pairs


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SparseCodes:
  """Codes of which k of F are active.

  Attributes:
    values: `[B, k]` (or `[B, L, k]`); 0 where fewer are active.
    indices: The features, of the same shape, int32. No feature twice in an example,
      but with value 0: codes may be padded.
  """

  values: Any
  indices: Any


Codes = Any  # Float[Array, 'B *C'] | SparseCodes | Pairs


def dense(codes: Codes, batch: int, features: int) -> Float[Array, 'B *C']:
  """Codes as a dense array."""
  if isinstance(codes, Pairs):
    return kernels.dense_pairs(codes, batch, features)
  if not isinstance(codes, SparseCodes):
    return codes
  values, indices = codes.values, codes.indices
  k = values.shape[-1]
  out = kernels.scatter_dense(values.reshape(-1, k), indices.reshape(-1, k), features)
  return out.reshape(*values.shape[:-1], features)


def values_of(codes: Codes) -> Array:
  """The values of codes of any kind: all that are not zero are among them."""
  return codes.values if isinstance(codes, SparseCodes | Pairs) else codes


def with_values(codes: Codes, values: Array) -> Codes:
  """Codes of the same features with other values."""
  if isinstance(codes, SparseCodes | Pairs):
    return dataclasses.replace(codes, values=values)
  return values


def first_features(codes: Codes, width: Any) -> Codes:
  """The codes of the features before `width` alone, which may be traced."""
  values = values_of(codes)
  if isinstance(codes, SparseCodes):
    feature = codes.indices
  elif isinstance(codes, Pairs):
    feature = codes.features
  else:
    feature = jnp.arange(values.shape[-1])
  return with_values(codes, jnp.where(feature < width, values, 0))


def per_feature(codes: Codes, vector: Float[Array, '*C']) -> Array:
  """A number of each feature, laid out as `values_of(codes)`."""
  if isinstance(codes, Pairs):
    return vector[codes.features]
  if not isinstance(codes, SparseCodes):
    return vector
  if vector.ndim == 1:
    return vector[codes.indices]
  gather = lambda row, index: row[index]
  return jax.vmap(gather, (0, 1), 1)(vector, codes.indices)


def per_example(codes: Codes, values: Array, batch: int) -> Float[Array, ' B']:
  """The sum over an example of numbers laid out as `values_of(codes)`.

  It is taken in float32 at least: bfloat16 cannot count beyond 256.
  """
  values = values.astype(jnp.promote_types(values.dtype, jnp.float32))
  if isinstance(codes, Pairs):
    return jnp.zeros(batch, values.dtype).at[codes.rows].add(values)
  return jnp.sum(values.reshape(batch, -1), -1)


def active(codes: Codes, batch: int) -> Float[Array, ' B']:
  """L0 of each example: how many features are not zero, over all layers."""
  return per_example(codes, (values_of(codes) != 0).astype(jnp.float32), batch)


def fired(codes: Codes, shape: tuple[int, ...]) -> Bool[Array, '*C']:
  """Which features are active anywhere in the batch.

  Args:
    codes: The codes.
    shape: `C`.
  """
  hit = values_of(codes) != 0
  if isinstance(codes, Pairs):
    return jnp.zeros(shape, bool).at[codes.features].max(hit)
  if not isinstance(codes, SparseCodes):
    return jnp.any(hit, axis=0)
  if len(shape) == 1:
    return jnp.zeros(shape, bool).at[codes.indices].max(hit)
  layer = jnp.arange(shape[0])[:, None]
  return jnp.zeros(shape, bool).at[layer, codes.indices].max(hit)
