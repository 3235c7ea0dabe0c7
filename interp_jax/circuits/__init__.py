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
from interp_jax.circuits.agreement import Agreement, agreement
from interp_jax.circuits.atp_star import atp_star
from interp_jax.circuits.attribution import Attribution, attribution_patching
from interp_jax.circuits.eap import edge_attribution
from interp_jax.circuits.edge_patching import edge_patching
from interp_jax.circuits.edges import Circuit, EdgeScores
from interp_jax.circuits.feature_edges import (
  Dictionary,
  FeatureEdges,
  FeaturePlace,
  feature_edges,
)
from interp_jax.circuits.graph import Graph, make_graph, node_layer, node_of
from interp_jax.circuits.grid import Grid, PatchPoint, make_grid, point_mask
from interp_jax.circuits.metrics import (
  Metric,
  kl_to,
  log_probability,
  logit_difference,
  next_token_losses,
  region_losses,
)
from interp_jax.circuits.patched import GraphRun, freeze, run_patched
from interp_jax.circuits.patches import graph_run, run_patches
from interp_jax.circuits.paths import mlps, path_effect, path_patching, total_effect
from interp_jax.circuits.result import SweepResult
from interp_jax.circuits.sweep import sweep
from interp_jax.circuits.worlds import reference_run, run_worlds
from interp_jax.core import Model

__all__ = [
  'AblateHeads',
  'AblationComparison',
  'Agreement',
  'Attribution',
  'Circuit',
  'Dictionary',
  'EdgeScores',
  'FeatureEdges',
  'FeaturePlace',
  'Graph',
  'GraphRun',
  'Grid',
  'Metric',
  'Model',
  'PatchPoint',
  'SweepResult',
  'agreement',
  'atp_star',
  'attribution_patching',
  'compare_ablations',
  'draw_others',
  'edge_attribution',
  'edge_patching',
  'feature_edges',
  'freeze',
  'graph_run',
  'head_mask',
  'in_context_score',
  'kl_to',
  'log_probability',
  'logit_difference',
  'make_graph',
  'make_grid',
  'mean_z',
  'mlps',
  'next_token_losses',
  'node_layer',
  'node_of',
  'path_effect',
  'path_patching',
  'point_mask',
  'reference_run',
  'region_losses',
  'run_patched',
  'run_patches',
  'run_worlds',
  'sweep',
  'token_losses',
  'total_effect',
]
