"""The question that a circuit answers: which model, on what, judged how, against what.

All methods that find or test circuits take a `Discovery`:

    question = circuits.make_discovery(model, params, clean, corrupted)
    found = circuits.acdc(question, threshold=0.01)
    curve = circuits.faithfulness_curve(question, scores)

A circuit is a set of edges of the residual graph. It is run on the clean inputs with
every edge outside of it ablated, which means that the edge carries what its sender
writes in corrupted inputs, or zeros, or a mean.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int
import numpy as np

from interp_jax.circuits.arguments import as_arrays, as_pytree
from interp_jax.circuits.graph import Graph, make_graph
from interp_jax.circuits.metrics import Metric, kl_to, squared_error_to
from interp_jax.circuits.patched import GraphRun
from interp_jax.circuits.patches import graph_run, run_patches
from interp_jax.core import Decomposable, Tokens, unknown

ABLATIONS = ('resample', 'zero', 'mean')
# So many circuits are rounded up to a power of 2, which has been compiled before.
FEW = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Discovery:
  """A model on inputs, with what its edges carry when they are ablated.

  Attributes:
    graph: The model's residual graph.
    model: The model.
    params: Its parameters.
    tokens: The clean inputs.
    corrupted: The corrupted inputs whose values ablated edges carry; None if they carry
      something else.
    other: What an ablated edge carries: what each sender writes elsewhere, or zeros.
      Broadcasts to `[S, B, T, D]`.
    metric: What the circuit should do as the model does, one number, a logit difference
      say: what attribution attributes and faithfulness compares.
    loss: What ACDC and learned masks keep small, one number: how far a run is from the
      clean one.
    base: The clean run.
    kwargs: Passed to the model: `mask`, `logit_positions`, `frozen`.
  """

  graph: Graph
  model: Decomposable
  params: Any
  tokens: Any
  corrupted: Any
  other: Any
  metric: Metric
  loss: Metric
  base: GraphRun
  kwargs: dict[str, Any]

  def run(
    self,
    circuits: Bool[np.ndarray, 'W R S'],
    metric: Metric | None = None,
    *,
    chunk: int | None = None,
    progress: bool = False,
  ) -> np.ndarray:
    """The metric of circuits, all other edges ablated.

    Args:
      circuits: The edges of each that stay.
      metric: What to measure; None for the metric of the question.
      chunk: The most circuits to run at once; None for as many as fit in memory.
      progress: Whether to show a progress bar.

    Returns:
      The metric, `[W, ...]`.
    """
    count = len(circuits)
    if chunk is None and 0 < count <= FEW:
      # Few programs for all small numbers: the last circuit is repeated.
      places = np.minimum(np.arange(1 << (count - 1).bit_length()), count - 1)
      circuits = circuits[places]
    return run_patches(
      self.model,
      self.params,
      self.tokens,
      self.graph.edges & ~circuits,
      self.other,
      self.metric if metric is None else metric,
      base=self.base,
      chunk=chunk,
      progress=progress,
      **self.kwargs,
    )[:count]


def make_discovery(
  model: Decomposable,
  params: Any,
  tokens: Tokens,
  corrupted: Int[Array | np.ndarray, '*s'] | None = None,
  *,
  ablation: Any = 'resample',
  metric: Metric | None = None,
  loss: Metric | None = None,
  **kwargs: Any,
) -> Discovery:
  """Asks which edges a model needs on some inputs.

  Args:
    model: The model.
    params: Its parameters.
    tokens: The clean inputs.
    corrupted: Inputs of the same shape: what ablated edges carry comes from the same
      row and position of them.
    ablation: 'resample': the corrupted run's values. 'zero': zeros. 'mean': at each
      position, the mean over the corrupted rows, or over the clean ones without any. Or
      an array that broadcasts to what the senders write, `[S, B, T, D]`. Which edges
      matter depends on it: zeros also take away what is the same in every input.
    metric: What the circuit should do as the model does: `(logits, acts) -> number`, of
      the logits alone. None for `loss`.
    loss: What ACDC and learned masks keep small. None for the KL divergence (nats) from
      the clean run, mean over the rows and positions that are unembedded; for a model
      of one logit, whose softmax is always 1, the squared difference. Positions whose
      output means nothing (BOS, in compiled models) are better left out: with
      `logit_positions`, or by a loss that does not read them.
    **kwargs: `mask` `[B, T]` (padding), `logit_positions` `[P]` or `[B, P]`, `frozen`.

  Returns:
    The question, for the methods to answer.

  Raises:
    ValueError: if the ablation is unknown, or needs corrupted inputs that are not given
      or do not fit.
  """
  tokens = jnp.asarray(tokens)
  if corrupted is not None and np.shape(corrupted) != tokens.shape:
    raise ValueError(
      f'corrupted has shape {np.shape(corrupted)}, the clean tokens {tokens.shape}; '
      'they must be aligned, row by row and position by position.'
    )
  kwargs = as_arrays(kwargs)
  graph = make_graph(model.cfg)
  base = graph_run(model, params, tokens, **kwargs)
  if loss is None:
    distance = squared_error_to if base.logits.shape[-1] == 1 else kl_to
    loss = distance(base.logits)
  loss = as_pytree(loss)
  metric = loss if metric is None else as_pytree(metric)
  other = ablation
  if isinstance(ablation, str):
    other = _other(model, params, corrupted, ablation, base, kwargs)
  resampled = isinstance(ablation, str) and ablation == 'resample'
  return Discovery(
    graph=graph,
    model=model,
    params=params,
    tokens=tokens,
    corrupted=jnp.asarray(corrupted) if resampled else None,
    other=other,
    metric=metric,
    loss=loss,
    base=base,
    kwargs=kwargs,
  )


def _other(
  model: Decomposable,
  params: Any,
  corrupted: Int[Array | np.ndarray, '*s'] | None,
  ablation: str,
  base: GraphRun,
  kwargs: dict[str, Any],
) -> Any:
  """What an ablated edge carries."""
  if ablation not in ABLATIONS:
    raise ValueError(unknown('ablation', ablation, ABLATIONS))
  if ablation == 'zero':
    return jnp.zeros(())
  run = base
  if corrupted is not None:
    run = graph_run(model, params, corrupted, **kwargs)
  elif ablation == 'resample':
    raise ValueError(
      "ablation='resample' needs corrupted inputs: give tokens of the same shape, or "
      "ablation='zero' or 'mean'."
    )
  return run.senders if ablation == 'resample' else run.senders.mean(1, keepdims=True)
