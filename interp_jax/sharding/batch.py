"""Batches and small values on a mesh: from what a process holds to global arrays.

Each process reads its share of the data and gives the rows of it:

    share = data_share(mesh)
    rows = read(share.index, share.count)
    batch = shard_batch(mesh, rows)

Mostly a share is a process's alone. Where the devices of several processes hold one
copy of the model, they need the same rows, and so they have the same share: on a v5e
4 × 4, which is four hosts of 2 × 2 chips, `make_mesh(model=4)` lays a copy along a row
of chips, and there are two shares, each for two hosts.
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
import numpy as np

from interp_jax.sharding.mesh import DATA


class Share(NamedTuple):
  """Which part of the data a process reads: part `index` of `count` equal ones."""

  index: int
  count: int


def data_share(mesh: Mesh | None, process: int | None = None) -> Share:
  """The part of the data that a process reads for its devices.

  Args:
    mesh: The mesh; None for one device, which is given everything.
    process: The process; None for this one.

  Returns:
    The part, e.g. for `training.batches(rows, batch_size, seed, *share)`. It is the
    same for processes whose devices hold the same rows.

  Raises:
    ValueError: if the process has no device of the mesh, or if processes would have
      some rows in common and others not.
  """
  if mesh is None:
    return Share(0, 1)
  return _share(mesh, jax.process_index() if process is None else process)


# Asked for with every batch.
@functools.lru_cache
def _share(mesh: Mesh, process: int) -> Share:
  held: dict[int, set[int]] = {}
  axis = mesh.axis_names.index(DATA)
  for place, device in np.ndenumerate(mesh.devices):
    held.setdefault(device.process_index, set()).add(place[axis])
  if process not in held:
    raise ValueError(
      f'Process {process} has no device of the mesh, which has those of processes'
      f' {sorted(held)}. Make the mesh of the devices of all processes that use it.'
    )
  parts = sorted({tuple(sorted(rows)) for rows in held.values()})
  size = len(parts[0])
  if size * len(parts) != mesh.shape[DATA] or any(len(part) != size for part in parts):
    raise ValueError(
      f'Processes hold parts of the mesh axis {DATA!r} that differ and overlap:'
      f' {parts}. Choose a size of the model axis that divides the devices of a process'
      ' or is a multiple of them.'
    )
  return Share(parts.index(tuple(sorted(held[process]))), len(parts))


def _check_batch(mesh: Mesh, shape: tuple[int, ...], shares: int) -> None:
  """Raises unless the rows of all shares divide over the data axis."""
  if not shape:
    raise ValueError('A batch needs a leading batch axis, and a scalar was given.')
  data = mesh.shape[DATA]
  if shape[0] * shares % data:
    raise ValueError(
      f'A batch of {shape[0]} rows in each of {shares} share(s) is {shape[0] * shares}'
      f' rows, which the mesh axis {DATA!r} of size {data} does not divide. Make the'
      f' batch a multiple of {data}, or pad it.'
    )


def shard_batch(mesh: Mesh, batch: Any, whole: bool = False) -> Any:
  """Global arrays of which each process gives its own rows.

  Args:
    mesh: The mesh.
    batch: A pytree of arrays whose leading axis is the batch: the rows of this
      process's share. Every process gives equally many. A global array that is split
      like this already is returned as it is.
    whole: Whether every process gives all rows instead, the same ones.

  Returns:
    The pytree as global arrays, split over `data` along the leading axis, which is as
    many times longer as there are shares. Rows of a share stay in their order. Where
    the mesh has the devices in the order of the processes, as on CPUs and GPUs, the
    shares follow each other; on a TPU's network they may be interleaved.

  Raises:
    ValueError: if a leaf is a scalar, if `data` does not divide the global batch, or as
      `data_share`.
  """
  sharding = NamedSharding(mesh, P(DATA))
  shares = 1 if whole else data_share(mesh).count

  def globalise(rows: Any) -> jax.Array:
    placed = getattr(rows, 'sharding', None)
    if placed is not None and placed.is_equivalent_to(sharding, rows.ndim):
      return rows
    shape = np.shape(rows)
    _check_batch(mesh, shape, shares)
    return jax.make_array_from_process_local_data(
      sharding, rows, shape if whole else None
    )

  return jax.tree.map(globalise, batch)


def from_here(mesh: Mesh, tree: Any) -> Any:
  """A tree that `jax.device_put` can put onto a mesh of several processes.

  It takes an array that a process holds whole, if the array is not bound to a device:
  what came from a file or a `device_put` is, and goes by the host.

  Args:
    mesh: The mesh.
    tree: A pytree of arrays.

  Returns:
    The same values; the same arrays where the mesh is one of this process's devices.
  """
  here = jax.process_index()
  if all(device.process_index == here for device in mesh.devices.flat):
    return tree
  local = lambda leaf: isinstance(leaf, jax.Array) and leaf.is_fully_addressable
  return jax.tree.map(lambda leaf: np.asarray(leaf) if local(leaf) else leaf, tree)


def replicate(mesh: Mesh, tree: Any) -> Any:
  """The tree with every leaf whole on every device of the mesh.

  Args:
    mesh: The mesh.
    tree: A pytree of arrays, the same on every process.

  Returns:
    The same values as global, replicated arrays.
  """
  return jax.device_put(from_here(mesh, tree), NamedSharding(mesh, P()))


def over_data(mesh: Mesh, function: Callable[..., Any]) -> Callable[..., Any]:
  """A function of which each copy of the model computes its own rows.

  XLA splits most programs over `data` by itself, and this changes nothing. Where rows
  are sorted or counted together it cannot, though no row's result depends on another's:
  it then gathers all rows on every device. A mixture of experts does that. Here nothing
  is exchanged over `data`, whatever the function does; over `model`, XLA goes on to
  choose.

  Args:
    mesh: The mesh.
    function: From parameters and a batch, in some arguments, to a pytree of arrays.
      Rows, the leading axis of the batch and of the results, do not depend on each
      other.

  Returns:
    The same function, to be compiled. Parameters that are split over `data` are
    gathered first.
  """

  def mapped(params: Any, *batch: Any) -> Any:
    rows = (P(DATA),) * len(batch)
    return jax.shard_map(
      function,
      mesh=mesh,
      in_specs=(P(), *rows),
      out_specs=P(DATA),
      axis_names={DATA},
      check_vma=False,
    )(params, *batch)

  return mapped


def keep_or_replicate(mesh: Mesh, tree: Any) -> Any:
  """The tree with every leaf on the mesh: as it lies there already, or replicated.

  Args:
    mesh: The mesh.
    tree: A pytree of arrays, say parameters that `place` may have placed.

  Returns:
    The same values as global arrays.
  """

  def put(leaf: Any) -> Any:
    placed = getattr(leaf, 'sharding', None)
    if isinstance(placed, NamedSharding) and placed.mesh == mesh:
      return leaf
    return replicate(mesh, leaf)

  return jax.tree.map(put, tree)
