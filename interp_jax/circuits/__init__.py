"""Causal analysis: what happens to the answer when an activation is changed.

Everything here is the model, as a pure function of edits, run in many worlds: sweeps
patch one run's activations into another over a grid, ablations take heads away. A model
is anything that has `apply({'params': params}, tokens, edits) -> (logits, acts)`.

Circuits are sets of edges of the residual graph. `make_discovery` asks which edges a
model needs, `discover_edges` answers by any method, `select_circuit` makes a circuit of
the scores, and `faithfulness_curve`, `completeness`, `minimality` and `scrub` test it.
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
from interp_jax.circuits.acdc import (
  Acdc,
  acdc,
  acdc_sweep,
  edge_order,
  make_thresholds,
  threshold_scores,
)
from interp_jax.circuits.agreement import (
  Agreement,
  agreement,
)
from interp_jax.circuits.atp_star import (
  atp_star,
)
from interp_jax.circuits.attribute import (
  attribute_edges,
)
from interp_jax.circuits.attribution import (
  Attribution,
  attribution_patching,
)
from interp_jax.circuits.criteria import (
  Completeness,
  Minimality,
  completeness,
  greedy_subsets,
  inner_nodes,
  minimality,
  random_subsets,
)
from interp_jax.circuits.discover import (
  discover_edges,
)
from interp_jax.circuits.discovery import (
  Discovery,
  make_discovery,
)
from interp_jax.circuits.eap import (
  edge_attribution,
)
from interp_jax.circuits.edge_ablation import EdgeAblation, ablate_edges
from interp_jax.circuits.edge_patching import (
  edge_patching,
)
from interp_jax.circuits.edges import (
  Circuit,
  EdgeScores,
)
from interp_jax.circuits.errors import (
  Stopped,
)
from interp_jax.circuits.faithfulness import (
  FaithfulnessCurve,
  faithfulness,
  faithfulness_curve,
)
from interp_jax.circuits.feature_edges import (
  FeatureEdges,
  FeaturePlace,
  feature_edges,
)
from interp_jax.circuits.features import (
  Dictionary,
)
from interp_jax.circuits.graph import (
  Graph,
  make_graph,
  node_layer,
  node_of,
)
from interp_jax.circuits.grid import (
  Grid,
  PatchPoint,
  make_grid,
  point_mask,
)
from interp_jax.circuits.masks import (
  LearnedMask,
  MaskConfig,
  edge_pruning,
  learn_mask,
  subnetwork_probing,
)
from interp_jax.circuits.metrics import (
  Metric,
  TokenMetric,
  kl_to,
  log_probability,
  logit_difference,
  next_token_losses,
  region_losses,
  squared_error_to,
)
from interp_jax.circuits.patched import (
  GraphRun,
  freeze,
  run_patched,
)
from interp_jax.circuits.patches import (
  graph_run,
  run_patches,
)
from interp_jax.circuits.paths import (
  mlps,
  path_effect,
  path_patching,
  total_effect,
)
from interp_jax.circuits.result import (
  SweepResult,
)
from interp_jax.circuits.scrubbing import (
  Hypothesis,
  Scrubbed,
  scrub,
  tree_sizes,
)
from interp_jax.circuits.selection import (
  edges_from,
  greedy_circuit,
  roc_auc,
  select_circuit,
)
from interp_jax.circuits.sources import (
  Ablation,
  Mean,
  Resample,
  Zero,
  mean_acts,
)
from interp_jax.circuits.sweep import (
  sweep,
)
from interp_jax.circuits.trace import (
  causal_trace,
)
from interp_jax.circuits.worlds import (
  base_run,
  reference_run,
  run_worlds,
)
from interp_jax.core import (
  Model,
)

__all__ = [
  'AblateHeads',
  'Ablation',
  'AblationComparison',
  'Acdc',
  'Agreement',
  'Attribution',
  'Circuit',
  'Completeness',
  'Dictionary',
  'Discovery',
  'EdgeAblation',
  'EdgeScores',
  'FaithfulnessCurve',
  'FeatureEdges',
  'FeaturePlace',
  'Graph',
  'GraphRun',
  'Grid',
  'Hypothesis',
  'LearnedMask',
  'MaskConfig',
  'Mean',
  'Metric',
  'Minimality',
  'Model',
  'PatchPoint',
  'Resample',
  'Scrubbed',
  'Stopped',
  'SweepResult',
  'TokenMetric',
  'Zero',
  'ablate_edges',
  'acdc',
  'acdc_sweep',
  'agreement',
  'atp_star',
  'attribute_edges',
  'attribution_patching',
  'base_run',
  'causal_trace',
  'compare_ablations',
  'completeness',
  'discover_edges',
  'draw_others',
  'edge_attribution',
  'edge_order',
  'edge_patching',
  'edge_pruning',
  'edges_from',
  'faithfulness',
  'faithfulness_curve',
  'feature_edges',
  'freeze',
  'graph_run',
  'greedy_circuit',
  'greedy_subsets',
  'head_mask',
  'in_context_score',
  'inner_nodes',
  'kl_to',
  'learn_mask',
  'log_probability',
  'logit_difference',
  'make_discovery',
  'make_graph',
  'make_grid',
  'make_thresholds',
  'mean_acts',
  'mean_z',
  'minimality',
  'mlps',
  'next_token_losses',
  'node_layer',
  'node_of',
  'path_effect',
  'path_patching',
  'point_mask',
  'random_subsets',
  'reference_run',
  'region_losses',
  'roc_auc',
  'run_patched',
  'run_patches',
  'run_worlds',
  'scrub',
  'select_circuit',
  'squared_error_to',
  'subnetwork_probing',
  'sweep',
  'threshold_scores',
  'token_losses',
  'total_effect',
  'tree_sizes',
]
