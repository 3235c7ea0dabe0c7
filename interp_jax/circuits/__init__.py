"""Causal analysis: what happens to the answer when an activation is changed.

Everything here is the model, as a pure function of edits, run in many worlds: sweeps
patch one run's activations into another over a grid, ablations take heads away. A model
is anything that has `apply({'params': params}, tokens, edits) -> (logits, acts)`.
"""

from interp_jax.circuits.ablation import (
  AblateHeads,
  AblationComparison,
  compare_ablations,
  draw_others,
  head_mask,
  in_context_score,
  mean_z,
  token_losses,
)
from interp_jax.circuits.errors import Stopped
from interp_jax.circuits.grid import Grid, PatchPoint, make_grid, point_mask
from interp_jax.circuits.metrics import (
  Metric,
  TokenMetric,
  kl_to,
  log_probability,
  logit_difference,
  next_token_losses,
  region_losses,
)
from interp_jax.circuits.result import SweepResult
from interp_jax.circuits.sources import Ablation, Mean, Resample, Zero, mean_acts
from interp_jax.circuits.sweep import sweep
from interp_jax.circuits.trace import causal_trace
from interp_jax.circuits.worlds import base_run, reference_run, run_worlds
from interp_jax.core import Model

__all__ = [
  'AblateHeads',
  'Ablation',
  'AblationComparison',
  'Grid',
  'Mean',
  'Metric',
  'Model',
  'PatchPoint',
  'Resample',
  'Stopped',
  'SweepResult',
  'TokenMetric',
  'Zero',
  'base_run',
  'causal_trace',
  'compare_ablations',
  'draw_others',
  'head_mask',
  'in_context_score',
  'kl_to',
  'log_probability',
  'logit_difference',
  'make_grid',
  'mean_acts',
  'mean_z',
  'next_token_losses',
  'point_mask',
  'reference_run',
  'region_losses',
  'run_worlds',
  'sweep',
  'token_losses',
]
