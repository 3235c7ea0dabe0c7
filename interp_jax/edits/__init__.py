"""Edits: what to do to activations on their way, as data.

`edits` is a pytree with the addresses of `acts`: site → edit or tuple of edits, applied
in order. Fields broadcast against `acts[site]`; `vmap` over them is a sweep, `grad`
with respect to a zero `Add` is attribution.
"""

from interp_jax.edits.build import (
  AXIS_NAMES,
  grid,
  mean_ablate,
  project_out,
  resample_ablate,
  select,
  steer,
  zero_ablate,
)
from interp_jax.edits.ops import (
  Add,
  Clamp,
  Edit,
  Interpolate,
  ProjectOut,
  Replace,
  Scale,
  Splice,
)
from interp_jax.edits.serialize import load, register_callable, save
from interp_jax.edits.tree import (
  Edits,
  Prepared,
  apply_all,
  as_tuples,
  at_positions,
  compose,
  join,
  prepare,
)

__all__ = [
  'AXIS_NAMES',
  'Add',
  'Clamp',
  'Edit',
  'Edits',
  'Interpolate',
  'Prepared',
  'ProjectOut',
  'Replace',
  'Scale',
  'Splice',
  'apply_all',
  'as_tuples',
  'at_positions',
  'compose',
  'grid',
  'join',
  'load',
  'mean_ablate',
  'prepare',
  'project_out',
  'register_callable',
  'resample_ablate',
  'save',
  'select',
  'steer',
  'zero_ablate',
]
