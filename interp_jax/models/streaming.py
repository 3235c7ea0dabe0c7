"""Weights from files onto devices, tensor by tensor.

A model's layers are stacked and files hold them one by one, so a parameter is put
together on the devices it is for. Each process reads what its own devices need, and
holds no more than one layer of one tensor beside what is already in place.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Shaped
import numpy as np

from interp_jax.models.conversion import Plan, source_name, stack_axes
from interp_jax.models.tensor_files import Stored

Index = tuple[slice, ...]
# Pieces of a shard, each with its place in the shard's leading axes.
Pieces = Iterable[tuple[tuple[int, ...], Shaped[np.ndarray, '...']]]
# Path, part of the parameter, dtype → the pieces of that part.
Read = Callable[[str, Index, np.dtype], Pieces]

# CPU devices use numpy's memory as it is, if it is aligned like this.
_ALIGNMENT = 64


def read_params(shapes: Any, shardings: Any, read: Read) -> Any:
  """All parameters of a model.

  Args:
    shapes: A pytree of `jax.ShapeDtypeStruct`: what the model wants.
    shardings: A pytree of the same structure of shardings: where it goes.
    read: Gives the pieces of a parameter, or of a part of it.

  Returns:
    The parameters.
  """

  def leaf(path: Any, want: Any, sharding: Any) -> jax.Array:
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    return _read_leaf(functools.partial(read, name), want, sharding)

  return jax.tree_util.tree_map_with_path(leaf, shapes, shardings)


def read_rows(plan: Plan, stored: Mapping[str, Stored]) -> Read:
  """How to read parameters that lie layer by layer in tensors of other shapes."""

  def read(path: str, index: Index, dtype: np.dtype) -> Pieces:
    part, stack = plan.parts[path], stack_axes(path)
    row = part.row
    ranges = [range(s.start, s.stop) for s in index[:stack]]
    for at in itertools.product(*ranges):
      if row.source:
        value = part.take(stored[source_name(row, at)].read())[index[stack:]]
      else:
        value = np.zeros(part.shape, dtype)[index[stack:]]
      if row.plus:
        value = value.astype(dtype) + np.asarray(row.plus, dtype)
      yield tuple(i - r.start for i, r in zip(at, ranges, strict=True)), value

  return read


def read_as_is(stored: Mapping[str, Stored]) -> Read:
  """How to read parameters that lie in files as they are, keys joined by `.`."""

  def read(path: str, index: Index, dtype: np.dtype) -> Pieces:
    del dtype
    yield (), stored[path.replace('/', '.')].read()[index]

  return read


def _read_leaf(
  read: Callable[[Index, np.dtype], Pieces],
  want: jax.ShapeDtypeStruct,
  sharding: jax.sharding.Sharding,
) -> jax.Array:
  places: dict[Any, list[jax.Device]] = {}
  for device, index in sharding.addressable_devices_indices_map(want.shape).items():
    slices = index or ()
    bounds = tuple(s.indices(n)[:2] for s, n in zip(slices, want.shape, strict=True))
    places.setdefault(bounds, []).append(device)
  shards = []
  for bounds, (first, *others) in places.items():
    pieces = read(tuple(slice(*pair) for pair in bounds), want.dtype)
    shape = tuple(stop - start for start, stop in bounds)
    shard = _assemble(pieces, shape, want.dtype, first)
    shards += [shard, *(jax.device_put(shard, device) for device in others)]
  return jax.make_array_from_single_device_arrays(want.shape, sharding, shards)


def _assemble(
  pieces: Pieces, shape: Sequence[int], dtype: np.dtype, device: jax.Device
) -> jax.Array:
  """A shard on its device."""
  if device.platform == 'cpu':  # Its memory is ours: fill it in place.
    buffer = _aligned(shape, dtype)
    for at, value in pieces:
      np.copyto(buffer[at], value, casting='unsafe')
    return jax.device_put(buffer, device)
  return assemble_remotely(pieces, shape, dtype, device)


def assemble_remotely(
  pieces: Pieces, shape: Sequence[int], dtype: np.dtype, device: jax.Device
) -> jax.Array:
  """A shard on a device with memory of its own, put there piece by piece."""
  with jax.default_device(device):
    shard = jnp.zeros(shape, dtype)
  for at, value in pieces:
    piece = jax.device_put(np.asarray(value, dtype), device)
    shard = _insert(shard, piece, at) if at else piece
    shard.block_until_ready()  # Or pieces pile up in the host's memory.
  return shard


@functools.partial(jax.jit, donate_argnums=0)
def _insert(shard: jax.Array, piece: jax.Array, at: tuple[Any, ...]) -> jax.Array:
  return shard.at[at].set(piece)


def _aligned(shape: Sequence[int], dtype: np.dtype) -> Shaped[np.ndarray, '...']:
  nbytes = math.prod(shape) * dtype.itemsize
  memory = np.empty(nbytes + _ALIGNMENT, np.uint8)
  start = -memory.ctypes.data % _ALIGNMENT
  return memory[start : start + nbytes].view(dtype).reshape(shape)
