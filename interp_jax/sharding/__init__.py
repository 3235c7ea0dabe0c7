"""Meshes and what lies where on them: sharding from outside the model.

A model never hears of a mesh. A program is sharded by placing its inputs:

    mesh = make_mesh(model=2)  # all devices, two of them to each copy of the model
    params = place(mesh, TRANSFORMER_RULES, params)
    tokens = shard_batch(mesh, tokens)

and `jax.jit` carries the placement through. The axes are `data` (examples) and
`model` (heads, neurons, vocabulary). Meshes are handed over explicitly and have axes
of type `AxisType.Auto`: XLA chooses the collectives. `to_host` and `local_rows` are the
way back. Jobs of several processes start and end by `processes`.
"""

from interp_jax.sharding.batch import (
  Share,
  data_share,
  keep_or_replicate,
  over_data,
  replicate,
  shard_batch,
)
from interp_jax.sharding.gather import local_rows, to_host
from interp_jax.sharding.mesh import DATA, MODEL, make_mesh, slice_of
from interp_jax.sharding.rules import (
  STATE_RULES,
  TRANSFORMER_RULES,
  Rules,
  fit_rules,
  place,
  shardings,
  spec_tree,
)
from interp_jax.sharding.simulated import simulate_devices, simulated_env

__all__ = [
  'DATA',
  'MODEL',
  'STATE_RULES',
  'TRANSFORMER_RULES',
  'Rules',
  'Share',
  'data_share',
  'fit_rules',
  'keep_or_replicate',
  'local_rows',
  'make_mesh',
  'over_data',
  'place',
  'replicate',
  'shard_batch',
  'shardings',
  'simulate_devices',
  'simulated_env',
  'slice_of',
  'spec_tree',
  'to_host',
]
