"""Edge attribution for a question, with as many steps as it needs.

Where attention is nearly one-hot and neurons are far from their kinks, as in compiled
models and in confident trained ones, the gradient at the clean run is nearly 0 though
patching changes everything, so EAP sees nothing. All that happens, happens in narrow
places on the way from the corrupted values to the clean ones, so that the mean gradient
on the way (EAP-IG) must be taken at enough places to meet them. How many is asked of
the scores: they are doubled until the scores stay as they are.
"""

import numpy as np
from jaxtyping import Float

from interp_jax.circuits.discovery import Discovery
from interp_jax.circuits.eap import edge_attribution
from interp_jax.circuits.edges import EdgeScores
from interp_jax.circuits.metrics import Metric

FIRST_STEPS, MOST_STEPS = 8, 256


def attribute_edges(
  discovery: Discovery,
  method: str | None = None,
  *,
  steps: int | None = None,
  tolerance: float = 0.05,
  metric: Metric | None = None,
) -> EdgeScores:
  """Estimates what ablating each edge alone does to the loss.

  Args:
    discovery: The model, the inputs, the ablation and the loss.
    method: See `edge_attribution`. None for 'eap-ig-inputs', whose runs lie between the
      corrupted and the clean inputs, where there are corrupted inputs, else
      'eap-ig-activations', which moves the values of one group of nodes at a time.
    steps: Number of steps; None to double it, from `FIRST_STEPS` to `MOST_STEPS`, until
      the scores change by no more than the tolerance.
    tolerance: The largest change, summed over edges, as a share of the sum of scores.
    metric: What to attribute; None for the loss. The gradient of a divergence from the
      clean run is 0 at the clean run itself, so 'eap' needs another: the metric of the
      question, say.

  Returns:
    The scores; rank edges by their size.

  Raises:
    ValueError: as `edge_attribution`.
  """
  if method is None:
    method = 'eap-ig-activations' if discovery.corrupted is None else 'eap-ig-inputs'

  def scores(count: int) -> EdgeScores:
    return edge_attribution(
      discovery.model,
      discovery.params,
      discovery.tokens,
      discovery.other if discovery.corrupted is None else discovery.corrupted,
      discovery.loss if metric is None else metric,
      method=method,
      steps=count,
      rule='midpoint',
      **discovery.kwargs,
    )

  if steps is not None or '-ig-' not in method:
    return scores(steps or 1)
  count = FIRST_STEPS
  found = scores(count)
  while count < MOST_STEPS:
    count *= 2
    before, found = found, scores(count)
    if _change(before.flat, found.flat) <= tolerance:
      break
  return found


def _change(before: Float[np.ndarray, ' n'], after: Float[np.ndarray, ' n']) -> float:
  total = float(np.abs(after).sum())
  return float(np.abs(after - before).sum()) / total if total else 0.0
