"""Keys and values of tokens already run, so that later ones need not run them again."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from interp_jax.models.config import TransformerConfig


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KeysValues:
  """Cached keys and values of one layer, or of all with a leading `L`.

  Attributes:
    k: Keys as attention reads them (normed, rotated), `[B, S, G, K]`.
    v: Values, `[B, S, G, K]`.
  """

  k: Any
  v: Any

  def insert(self, k: jax.Array, v: jax.Array, slot: Any) -> 'KeysValues':
    """With new keys and values `[B, T, G, K]` written from a slot on."""
    put = jax.lax.dynamic_update_slice_in_dim
    return KeysValues(put(self.k, k, slot, 1), put(self.v, v, slot, 1))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
  """Keys and values of the tokens run so far, for all layers.

  Attributes:
    layers: Keys and values, `[L, B, S, G, K]`, S the most tokens it can hold.
    positions: Position of each cached token, `[B, S]`.
    valid: Whether each slot holds a token that is not padding, `[B, S]`.
    length: Number of slots filled.
  """

  layers: KeysValues
  positions: jax.Array
  valid: jax.Array
  length: jax.Array


def empty_cache(cfg: TransformerConfig, batch: int, size: int) -> Cache:
  """A cache that can hold `size` tokens of each of `batch` sequences."""
  shape = (cfg.layers, batch, size, cfg.kv_heads, cfg.head_dim)
  return Cache(
    layers=KeysValues(jnp.zeros(shape, cfg.dtype), jnp.zeros(shape, cfg.dtype)),
    positions=jnp.zeros((batch, size), jnp.int32),
    valid=jnp.zeros((batch, size), bool),
    length=jnp.zeros((), jnp.int32),
  )
