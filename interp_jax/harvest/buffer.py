"""Activations on the devices: written in place, taken out by index."""

from collections.abc import Mapping
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Int
import numpy as np

from interp_jax.harvest import placement
from interp_jax.harvest.forward import Forward, Program
from interp_jax.sharding import DATA


class Buffer:
  """The activations of some batches of a model, `[slots, B, T, ...]` for each array.

  A slot holds a batch. `B` is split over the mesh's `data` axis as the model leaves it,
  so that writing moves nothing between devices; taking rows out moves those rows.
  """

  def __init__(
    self, forward: Forward, slots: int, shape: tuple[int, int], mesh: Mesh | None
  ):
    """Allocates it.

    Args:
      forward: What fills it.
      slots: Number of batches that it holds.
      shape: `(B, T)` of a batch.
      mesh: Devices; None for one.
    """
    forward = forward.on(mesh)
    self._program, self._params, self._mesh = forward.program, forward.params, mesh
    dtype = forward.program.dtype
    shapes = {s.name: (slots, *shape, *s.shape) for s in forward.specs}
    layout = None if mesh is None else NamedSharding(mesh, P(None, DATA))
    zeros = lambda: {name: jnp.zeros(sizes, dtype) for name, sizes in shapes.items()}
    self._arrays = jax.jit(zeros, out_shardings=layout)()

  def fill(self, slot: int, tokens: Any, mask: Any) -> None:
    """Runs the model on a batch and keeps what it gives. It does not wait."""
    inputs = placement.inputs(self._mesh, tokens, mask)
    self._arrays = _fill(
      self._program, self._arrays, self._params, *inputs, np.int32(slot)
    )

  def take(self, where: Int[np.ndarray, 'N 3']) -> dict[str, jax.Array]:
    """Rows `[N, ...]` of each array by slot, sequence and position."""
    return _take(self._mesh, self._arrays, where.astype(np.int32))


# Donated, so that there is one buffer and not two.
@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _fill(
  program: Program,
  arrays: dict[str, jax.Array],
  params: Any,
  tokens: Any,
  mask: Any,
  slot: Any,
) -> dict[str, jax.Array]:
  acts = program(params, tokens, mask)
  put = jax.lax.dynamic_update_index_in_dim
  return {name: put(array, acts[name], slot, 0) for name, array in arrays.items()}


@functools.partial(jax.jit, static_argnums=0)
def _take(
  mesh: Mesh | None, arrays: Mapping[str, jax.Array], where: jax.Array
) -> dict[str, jax.Array]:
  rows = {name: array[tuple(where.T)] for name, array in arrays.items()}
  if mesh is None:
    return rows
  layout = NamedSharding(mesh, P(DATA))
  return jax.lax.with_sharding_constraint(rows, jax.tree.map(lambda _: layout, rows))
