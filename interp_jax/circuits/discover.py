"""Every method that scores edges, by name."""

from typing import Any

import numpy as np

from interp_jax.circuits.acdc import acdc_sweep, make_thresholds, threshold_scores
from interp_jax.circuits.attribute import attribute_edges
from interp_jax.circuits.discovery import Discovery
from interp_jax.circuits.eap import METHODS as GRADIENTS
from interp_jax.circuits.edge_patching import edge_patching
from interp_jax.circuits.edges import EdgeScores
from interp_jax.circuits.masks import MaskConfig, learn_mask
from interp_jax.core import unknown

METHODS = ('acdc', 'exact', 'edge-pruning', 'subnetwork-probing', *GRADIENTS)


def discover_edges(
  discovery: Discovery, method: str, *, progress: bool = True, **settings: Any
) -> EdgeScores:
  """Scores every edge: the larger its size, the sooner the edge is in the circuit.

  Methods, and what they cost for N edges:

  - 'acdc': at most N runs for each threshold; the score is the highest threshold at
    which the edge stays without adding as much to the loss. It sees how edges work
    together.
  - 'exact': N runs; what ablating the edge alone does to the metric.
  - 'eap', 'eap-ig-inputs', 'eap-ig-activations', 'clean-corrupted': an estimate of
    'exact' by gradients, some forward and backward passes, see `attribute_edges`.
  - 'edge-pruning', 'subnetwork-probing': learned gates, some hundred passes; the score
    is the log-odds that the gate stays open, above those of the least open one.

  Args:
    discovery: The model, the inputs, the ablation, the metric and the loss.
    method: One of `METHODS`.
    progress: Whether to show progress bars.
    **settings: Of the method: `thresholds` of ACDC (from `make_thresholds` if there are
      none), fields of `MaskConfig`, arguments of `attribute_edges`.

  Returns:
    The scores.

  Raises:
    ValueError: if there is no such method.
  """
  if method not in METHODS:
    raise ValueError(unknown('method', method, METHODS))
  if method == 'acdc':
    thresholds = settings.pop('thresholds', None)
    thresholds = make_thresholds(discovery) if thresholds is None else thresholds
    found = acdc_sweep(discovery, thresholds, progress=progress, **settings)
    return threshold_scores({tau: one.circuit for tau, one in found.items()})
  if method == 'exact':
    return edge_patching(
      discovery.model,
      discovery.params,
      discovery.tokens,
      discovery.other,
      discovery.metric,
      progress=progress,
      **discovery.kwargs,
      **settings,
    )
  if method in GRADIENTS:
    return attribute_edges(discovery, method, **settings)
  gates = 'edge' if method == 'edge-pruning' else 'node'
  found = learn_mask(discovery, MaskConfig(gates, **settings), progress).scores
  edges = discovery.graph.edges
  return EdgeScores(found.graph, np.where(edges, found.values - found.flat.min(), 0))
