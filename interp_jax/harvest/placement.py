"""Batches on the devices of a harvest."""

from typing import Any

import jax
from jax.sharding import Mesh
import numpy as np

from interp_jax import sharding


def check_divides(mesh: Mesh | None, batch: int) -> None:
  """Raises unless a batch divides over the mesh.

  Raises:
    ValueError: if it does not.
  """
  data = 1 if mesh is None else mesh.shape[sharding.DATA]
  if batch < 1 or batch % data:
    raise ValueError(
      f'A batch of {batch} does not divide over the mesh axis {sharding.DATA!r} of '
      f'size {data}. Give a multiple of {data}.'
    )


def check_local(mesh: Mesh | None) -> None:
  """Raises unless the mesh is one of this process's devices.

  Raises:
    ValueError: if it is not.
  """
  devices = [] if mesh is None else mesh.devices.flat
  if any(device.process_index != jax.process_index() for device in devices):
    raise ValueError(
      'The mesh has devices of other processes, but each process harvests rows of its '
      'own. Give sharding.make_mesh(devices=jax.local_devices()).'
    )


def inputs(mesh: Mesh | None, tokens: np.ndarray, mask: np.ndarray | None) -> Any:
  """Tokens and mask, split over the mesh's `data` axis.

  Where the mesh is one of several processes, each gives the whole batch.
  """
  given = (tokens.astype(np.int32), mask)
  return given if mesh is None else sharding.shard_batch(mesh, given, whole=True)
