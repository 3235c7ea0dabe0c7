"""The way back from a mesh: global arrays as numpy arrays of a process."""

from typing import Any

import jax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Shaped
import numpy as np

# Of an array that is gathered, on each device at a time.
BLOCK_BYTES = 256 * 2**20


def to_host(tree: Any, block_bytes: int = BLOCK_BYTES) -> Any:
  """The tree with every leaf whole in the memory of each process.

  All processes must call it, for the same tree. An array with parts on other processes'
  devices is gathered in blocks, so that it need not fit onto a device.

  Args:
    tree: A pytree of arrays, wherever their parts are.
    block_bytes: How much of an array to gather at a time.

  Returns:
    The same values as numpy arrays.
  """
  leaves, structure = jax.tree.flatten(tree)
  for leaf in leaves:  # All are on their way before the first is waited for.
    if isinstance(leaf, jax.Array) and leaf.is_fully_addressable:
      leaf.copy_to_host_async()
  return jax.tree.unflatten(structure, [_whole(leaf, block_bytes) for leaf in leaves])


def local_rows(array: jax.Array | np.ndarray) -> Shaped[np.ndarray, '...']:
  """The rows of an array that this process holds: the way back from `shard_batch`.

  Args:
    array: An array, split along its leading axis and along no other one over the
      devices of several processes.

  Returns:
    The rows, in their order; all of them where the process holds all.

  Raises:
    ValueError: if the process holds only parts of its rows.
  """
  if not isinstance(array, jax.Array) or array.is_fully_addressable:
    return np.asarray(array)
  shards = {}
  for shard in array.addressable_shards:
    spans = zip(shard.index, array.shape, strict=True)
    shards[tuple(index.indices(size)[:2] for index, size in spans)] = shard.data
  rows = sorted({spans[0] for spans in shards})
  starts = np.cumsum([0, *(stop - start for start, stop in rows)])
  first = {span: int(start) for span, start in zip(rows, starts[:-1], strict=True)}
  out = np.empty((int(starts[-1]), *array.shape[1:]), array.dtype)
  for (span, *others), data in shards.items():
    at = slice(first[span], first[span] + data.shape[0])
    out[at, *(slice(*other) for other in others)] = data
  if sum(data.size for data in shards.values()) != out.size:
    raise ValueError(
      f'This process holds only parts of its rows of an array of shape {array.shape},'
      f' which lies by {array.sharding}. Take the whole array with `to_host`, in all'
      ' processes.'
    )
  return out


def _whole(leaf: Any, block_bytes: int) -> np.ndarray:
  """A leaf on the host."""
  here = not isinstance(leaf, jax.Array) or leaf.is_fully_addressable
  if here or leaf.is_fully_replicated:
    return np.asarray(leaf)
  axis = _unsplit_axis(leaf)
  length = leaf.shape[axis]
  size = max(1, min(length, length * block_bytes // leaf.nbytes))
  out = np.empty(leaf.shape, leaf.dtype)
  for start in range(0, length, size):
    start = min(start, length - size)  # The last block has the size of the others.
    block = _gather(leaf, start, size, axis)
    out[(slice(None),) * axis + (slice(start, start + size),)] = block
  return out


def _unsplit_axis(array: jax.Array) -> int:
  """The longest axis that each device has whole: cutting along it moves nothing.

  The longest of all where each is split, as that of a vector is.
  """
  shard = array.sharding.shard_shape(array.shape)
  kept = [axis for axis, size in enumerate(array.shape) if shard[axis] == size]
  return max(kept or range(array.ndim), key=lambda axis: array.shape[axis])


def _gather(array: jax.Array, start: int, size: int, axis: int) -> np.ndarray:
  """A block of an array, which every device gets for a moment."""
  layout = array.sharding
  if not isinstance(layout, NamedSharding):
    raise ValueError(f'to_host: an array lies by {layout}; it must lie on a mesh.')
  cut = jax.jit(
    jax.lax.dynamic_slice_in_dim,
    static_argnames=('slice_size', 'axis'),
    out_shardings=NamedSharding(layout.mesh, P()),
  )
  return np.asarray(cut(array, start, slice_size=size, axis=axis))
