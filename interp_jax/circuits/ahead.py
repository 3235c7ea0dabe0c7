"""The program of a sweep, from shapes alone: to compile it where no device is."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from interp_jax.circuits.arguments import as_arrays, as_pytree
from interp_jax.circuits.grid import PatchPoint, make_grid
from interp_jax.circuits.metrics import Metric
from interp_jax.circuits.restart import Base
from interp_jax.circuits.runner import kept_sites
from interp_jax.circuits.worlds import (
  DATA_AXIS,
  base_shapes,
  lower_chunk,
  output_shapes,
)
from interp_jax.core import Model


def lower_sweep(
  model: Model,
  params: Any,
  tokens: Any,
  site: str,
  over: Sequence[str],
  metric: Metric,
  worlds: int,
  mesh: Mesh,
  *,
  logit_positions: Any = None,
  restart: str = 'layers',
) -> jax.stages.Lowered:
  """What `sweep` runs each chunk of worlds through, for patches of another run.

  Args:
    model: The model.
    params: Shapes of its parameters, with shardings.
    tokens: The shape `[B, T]` of the base input.
    site: The site to patch.
    over: The axes of the grid.
    metric: What to measure.
    worlds: How many worlds run at once.
    mesh: Devices: worlds are spread over `data`.
    logit_positions: The positions that the metric reads.
    restart: As in `sweep`; worlds start at position 0.

  Returns:
    The program, to be compiled.
  """
  metric = as_pytree(metric)
  kwargs = as_arrays({'logit_positions': logit_positions})
  logits, shapes = output_shapes(model, params, tokens, **kwargs)
  kept, at_layers, _ = kept_sites(model, metric, restart, logits, shapes, {site})
  acts = base_shapes(model, params, tokens, metric, kept, **kwargs)
  grid = make_grid(site, shapes[site].shape, over)
  patch = PatchPoint(acts[site], None, grid, 1)
  everywhere = NamedSharding(mesh, PartitionSpec())
  shared = _placed((metric, patch, Base(tokens, kwargs, None, acts)), everywhere)
  start = jax.ShapeDtypeStruct((), jnp.int32, sharding=everywhere)
  points = jax.ShapeDtypeStruct(
    (worlds, len(grid.axes)),
    jnp.int32,
    sharding=NamedSharding(mesh, PartitionSpec(DATA_AXIS)),
  )
  return lower_chunk(model, 0, params, *shared, start if at_layers else None, points)


def _placed(tree: Any, sharding: NamedSharding) -> Any:
  """The shapes of a tree, on a mesh."""
  place = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
  return jax.tree.map(place, tree)
