"""Codes: which features are active in an example, and how much.

Dense codes are an array `[B, *C]`, where `C` is `(F,)`, or `(L, F)` for dictionaries
with an encoder in every layer. Where an activation fixes how many features are active,
codes are `SparseCodes` instead: the few values, and which features they belong to.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SparseCodes:
  """Codes of which k of F are active.

  Attributes:
    values: `[B, k]` (or `[B, L, k]`), largest first; 0 where fewer are active.
    indices: The features, of the same shape, int32; no feature twice in an example.
  """

  values: Any
  indices: Any


Codes = Any  # Float[Array, 'B *C'] | SparseCodes


def dense(codes: Codes, features: int) -> Float[Array, 'B *C']:
  """Codes as a dense array."""
  if not isinstance(codes, SparseCodes):
    return codes
  values, indices = codes.values, codes.indices
  flat = values.reshape(-1, values.shape[-1])
  rows = jnp.arange(flat.shape[0])[:, None]
  zeros = jnp.zeros((flat.shape[0], features), values.dtype)
  # Sparse codes may be padded, with value 0 at some feature: hence `add`.
  out = zeros.at[rows, indices.reshape(flat.shape)].add(flat)
  return out.reshape(*values.shape[:-1], features)


def values_of(codes: Codes) -> Array:
  """The values, of dense or of sparse codes: all that are not zero are among them."""
  return codes.values if isinstance(codes, SparseCodes) else codes


def per_feature(codes: Codes, vector: Float[Array, '*C']) -> Array:
  """A number of each feature, laid out as `values_of(codes)`."""
  if not isinstance(codes, SparseCodes):
    return vector
  if vector.ndim == 1:
    return vector[codes.indices]
  gather = lambda row, index: row[index]
  return jax.vmap(gather, (0, 1), 1)(vector, codes.indices)


def active(codes: Codes) -> Float[Array, ' B']:
  """L0 of each example: how many features are not zero, over all layers."""
  values = values_of(codes)
  return jnp.sum(values != 0, axis=tuple(range(1, values.ndim))).astype(jnp.float32)


def fired(codes: Codes, shape: tuple[int, ...]) -> Bool[Array, '*C']:
  """Which features are active anywhere in the batch.

  Args:
    codes: The codes.
    shape: `C`.
  """
  if not isinstance(codes, SparseCodes):
    return jnp.any(codes != 0, axis=0)
  hit = codes.values != 0
  if len(shape) == 1:
    return jnp.zeros(shape, bool).at[codes.indices].max(hit)
  layer = jnp.arange(shape[0])[:, None]
  return jnp.zeros(shape, bool).at[layer, codes.indices].max(hit)
