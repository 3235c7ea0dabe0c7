"""Batches and small values on a mesh: from what a process holds to global arrays."""

from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
import numpy as np

from interp_jax.sharding.mesh import DATA


def _check_batch(mesh: Mesh, shape: tuple[int, ...]) -> None:
  """Raises unless the rows of all processes divide over the data axis."""
  if not shape:
    raise ValueError('A batch needs a leading batch axis, and a scalar was given.')
  data, processes = mesh.shape[DATA], jax.process_count()
  if shape[0] * processes % data:
    raise ValueError(
      f'A batch of {shape[0]} rows on each of {processes} process(es) is'
      f' {shape[0] * processes} rows, which the mesh axis {DATA!r} of size {data} does'
      f' not divide. Make the batch a multiple of {data}, or pad it.'
    )


def shard_batch(mesh: Mesh, batch: Any) -> Any:
  """Global arrays of which each process gives its own rows.

  Args:
    mesh: The mesh.
    batch: A pytree of arrays whose leading axis is the batch: the rows of this process.
      Every process gives equally many. A global array that is split like this
      already is returned as it is.

  Returns:
    The pytree as global arrays, split over `data` along the leading axis. With P
    processes the leading axis is P times as long, in the order of the processes.

  Raises:
    ValueError: if a leaf is a scalar, or if `data` does not divide the global batch.
  """
  sharding = NamedSharding(mesh, P(DATA))

  def globalise(rows: Any) -> jax.Array:
    _check_batch(mesh, np.shape(rows))
    placed = getattr(rows, 'sharding', None)
    if placed is not None and placed.is_equivalent_to(sharding, rows.ndim):
      return rows
    return jax.make_array_from_process_local_data(sharding, rows)

  return jax.tree.map(globalise, batch)


def replicate(mesh: Mesh, tree: Any) -> Any:
  """The tree with every leaf whole on every device of the mesh.

  Args:
    mesh: The mesh.
    tree: A pytree of arrays, the same on every process.

  Returns:
    The same values as global, replicated arrays.
  """
  return jax.device_put(tree, NamedSharding(mesh, P()))
