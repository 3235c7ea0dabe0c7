"""Fingerprints: so that a harvest is never continued with other weights or tokens."""

from collections.abc import Iterable, Mapping
import hashlib
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, UInt32
import numpy as np

from interp_jax.harvest.forward import Forward
from interp_jax.harvest.rows import Sequences
from interp_jax.models import Transformer

_ROWS_AT_ONCE = 4096


def fingerprint(params: Any) -> str:
  """A number by which to tell parameters apart: any changed bit changes it.

  It is computed where the parameters are, in integers, so it costs one pass over them
  and does not depend on the devices or on how the parameters are sharded.

  Args:
    params: A pytree of arrays.

  Returns:
    32 hexadecimal digits.
  """
  sums = jax.device_get(_sums(params))
  digest = hashlib.sha256()
  leaves = jax.tree_util.tree_leaves_with_path(params)
  for (path, leaf), total in zip(leaves, jax.tree.leaves(sums), strict=True):
    name = jax.tree_util.keystr(path)
    digest.update(f'{name} {leaf.shape} {leaf.dtype} {total}\n'.encode())
  return digest.hexdigest()[:32]


def data_fingerprint(arrays: Mapping[str, np.ndarray | None]) -> str:
  """A number by which to tell arrays apart: any changed bit changes it.

  Args:
    arrays: Arrays by name, which may be memory-mapped; None for one that is not given.

  Returns:
    32 hexadecimal digits.
  """
  digest = hashlib.sha256()
  for name, array in arrays.items():
    if array is None:
      continue
    digest.update(f'{name} {array.shape} {array.dtype.str}\n'.encode())
    for start in range(0, len(array), _ROWS_AT_ONCE):
      digest.update(array[start : start + _ROWS_AT_ONCE].tobytes())
  return digest.hexdigest()[:32]


def identity(
  model: Transformer,
  forward: Forward,
  sequences: Sequences,
  heads: Mapping[str, Iterable[int]] | None = None,
  flat: bool = False,
  compute_dtype: str | None = None,
) -> dict[str, Any]:
  """What makes two harvests the same, and what a reader may want to know: plain data.

  Args:
    model: The whole model.
    forward: What is run.
    sequences: On what.
    heads: Which heads were asked for.
    flat: Whether rows are vectors.
    compute_dtype: What the model was cast to.
  """
  arrays = ('tokens', 'mask', 'documents', 'positions')
  chosen = {
    'heads': {site: list(which) for site, which in (heads or {}).items()},
    'flat': flat,
    'compute_dtype': compute_dtype,
  }
  return {
    'config': model.cfg.to_dict(),
    'params': fingerprint(forward.params),
    'data': data_fingerprint({name: getattr(sequences, name) for name in arrays}),
    'sequences': list(sequences.tokens.shape),
    'drop_first': sequences.drop_first,
    **{name: value for name, value in chosen.items() if value},
  }


@jax.jit
def _sums(params: Any) -> Any:
  return jax.tree.map(_weighted_sum, params)


def _weighted_sum(leaf: Array) -> UInt32[Array, '']:
  """Sum of hashes of place and bits, modulo 2^32."""
  unsigned = {1: jnp.uint8, 2: jnp.uint16}.get(leaf.dtype.itemsize, jnp.uint32)
  bits = jax.lax.bitcast_convert_type(leaf, unsigned).astype(jnp.uint32)
  place = jnp.zeros(bits.shape, jnp.uint32)
  for axis in range(bits.ndim):
    stride = np.uint32(math.prod(bits.shape[axis + 1 :]) % 2**32)
    place += jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis) * stride
  return jnp.sum(_mix(_mix(place) ^ bits), dtype=jnp.uint32)


def _mix(x: Array) -> Array:
  """The finaliser of MurmurHash3, a bijection: no change of one element is lost."""
  x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
  return x ^ (x >> 16)
