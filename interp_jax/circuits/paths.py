"""Path patching: the effect that reaches the answer along chosen paths only.

Wang et al. 2022 (IOI, arXiv:2211.00593) and Goldowsky-Dill et al. 2023
(arXiv:2304.05969). In a first run the senders write what they wrote in the corrupted
run, every other node what it wrote in the clean one, and only the nodes that paths may
pass through are computed. What the receivers read then is put into a clean run.
"""

from collections.abc import Iterable, Sequence
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from interp_jax.circuits.arguments import as_arrays, as_pytree
from interp_jax.circuits.graph import INPUT, LOGITS, Graph, make_graph, node_of
from interp_jax.circuits.metrics import Metric
from interp_jax.circuits.patched import run_patched
from interp_jax.circuits.patches import both_runs
from interp_jax.core import Decomposable, Tokens

Corrupt = Int[Array | np.ndarray, 'B T'] | Float[Array | np.ndarray, '*s'] | float


def path_patching(
  model: Decomposable,
  params: Any,
  clean: Tokens,
  corrupt: Corrupt,
  senders: Iterable[str],
  receivers: Iterable[str],
  metric: Metric,
  *,
  through: Iterable[str] = (),
  **kwargs: Any,
) -> np.ndarray:
  """The effect of senders on the metric by way of receivers.

  The paths go from a sender to a receiver directly or through nodes of `through`, and
  from the receivers on to the logits by all paths. Receivers of `('logits',)` give the
  direct effect; all edges out of the sender (`total_effect`) its total effect.

  Args:
    model: The model.
    params: Its parameters.
    clean: Tokens of the clean run.
    corrupt: Tokens of the corrupted run, or what the senders write instead.
    senders: Names of senders, e.g. `('a9.h9', 'a9.h6')`.
    receivers: Names of receivers, e.g. `('a10.h0<q>',)` or `('logits',)`; a node's name
      stands for all of its inputs.
    metric: What to measure, of the logits; `acts` are empty here.
    through: Nodes that paths may pass on the way to a receiver: `mlps(graph)` for all
      MLPs, as Wang et al. do; none for direct edges.
    **kwargs: As for `run_patched`: `mask`, `logit_positions`, `frozen`.

  Returns:
    `metric(patched) - metric(clean)`.

  Raises:
    ValueError: if a name is unknown, a sender is also in `through`, or tokens do not
      fit each other.
  """
  graph = make_graph(model.cfg)
  sending = sender_mask(graph, senders)
  passing = sender_mask(graph, through)
  if (sending & passing).any():
    both = [graph.senders[i] for i in np.flatnonzero(sending & passing)]
    raise ValueError(
      f'{", ".join(both)}: a sender writes what it is told to, so no path passes '
      'through it. Leave it out of through.'
    )
  reading = receiver_mask(graph, receivers)
  clean, kwargs = jnp.asarray(clean), as_arrays(kwargs)
  own, other = both_runs(model, params, clean, corrupt, kwargs)
  fixed = jnp.where(sending[:, None, None, None], other, own.senders)
  first = np.broadcast_to(~passing, graph.shape)
  second = np.broadcast_to(reading[:, None], graph.shape)
  sent = _run(model, params, clean, first, fixed, kwargs).senders
  # What is computed on the way counts where paths may pass it, and nowhere else.
  sent = jnp.where(passing[:, None, None, None], sent, fixed)
  logits = _run(model, params, clean, second, sent, kwargs).logits
  return _change(metric, logits, own.logits)


def total_effect(
  model: Decomposable,
  params: Any,
  clean: Tokens,
  corrupt: Corrupt,
  senders: Iterable[str],
  metric: Metric,
  **kwargs: Any,
) -> np.ndarray:
  """The effect of senders on the metric by all paths: activation patching of nodes.

  Args:
    model: The model.
    params: Its parameters.
    clean: Tokens of the clean run.
    corrupt: Tokens of the corrupted run, or what the senders write instead.
    senders: Names of senders.
    metric: What to measure, of the logits; `acts` are empty here.
    **kwargs: As for `run_patched`: `mask`, `logit_positions`, `frozen`.

  Returns:
    `metric(patched) - metric(clean)`.

  Raises:
    ValueError: if a name is unknown or tokens do not fit each other.
  """
  graph = make_graph(model.cfg)
  sending = sender_mask(graph, senders)
  clean, kwargs = jnp.asarray(clean), as_arrays(kwargs)
  own, other = both_runs(model, params, clean, corrupt, kwargs)
  patch = np.broadcast_to(sending, graph.shape)
  logits = _run(model, params, clean, patch, other, kwargs).logits
  return _change(metric, logits, own.logits)


def path_effect(
  model: Decomposable,
  params: Any,
  clean: Tokens,
  corrupt: Corrupt,
  path: Sequence[str],
  metric: Metric,
  **kwargs: Any,
) -> np.ndarray:
  """The effect along one path alone, every other path held as in the clean run.

  Args:
    model: The model.
    params: Its parameters.
    clean: Tokens of the clean run.
    corrupt: Tokens of the corrupted run, or what the first node writes instead.
    path: A sender, then receivers: `('input', 'a0.h1<v>', 'm1', 'logits')`.
    metric: What to measure, of the logits; `acts` are empty here.
    **kwargs: As for `run_patched`: `mask`, `logit_positions`, `frozen`.

  Returns:
    `metric(patched) - metric(clean)`.

  Raises:
    ValueError: if it is no path from a sender to the logits, or tokens do not fit each
      other.
  """
  graph = make_graph(model.cfg)
  if len(path) < 2 or path[-1] != LOGITS:
    raise ValueError(f"A path goes from a sender to 'logits'; got {tuple(path)}.")
  hops = [graph.edge(f'{node_of(a)}->{b}') for a, b in itertools.pairwise(path)]
  clean, kwargs = jnp.asarray(clean), as_arrays(kwargs)
  own, other = both_runs(model, params, clean, corrupt, kwargs)
  sent, logits = other, own.logits
  for receiver, sender in hops:
    patch = np.zeros(graph.shape, bool)
    patch[receiver, sender] = True
    run = _run(model, params, clean, patch, sent, kwargs)
    # The next hop carries what this node wrote when it alone read something else.
    sent, logits = run.senders, run.logits
  return _change(metric, logits, own.logits)


def mlps(graph: Graph) -> tuple[str, ...]:
  """The names of all MLPs: what paths may pass through in Wang et al."""
  return tuple(name for name in graph.senders if name[0] == 'm')


def sender_mask(graph: Graph, names: Iterable[str]) -> np.ndarray:
  """A mask `[S]` that holds at the named senders.

  Raises:
    ValueError: if there is no such sender.
  """
  mask = np.zeros(graph.shape[1], bool)
  mask[[graph.sender(name) for name in _sequence(names)]] = True
  return mask


def receiver_mask(graph: Graph, names: Iterable[str]) -> np.ndarray:
  """A mask `[R]` that holds at the named receivers, or at all inputs of named nodes.

  Raises:
    ValueError: if there is no such receiver or node, or it is the input.
  """
  mask = np.zeros(graph.shape[0], bool)
  for name in _sequence(names):
    if name in graph.senders and name != INPUT:
      mask[list(graph.inputs_of(name))] = True
    else:
      mask[graph.receiver(name)] = True
  return mask


def _sequence(names: Iterable[str]) -> list[str]:
  if isinstance(names, str):
    raise ValueError(f'Give a sequence of names, ({names!r},), not one string.')
  return list(names)


@functools.partial(jax.jit, static_argnums=0)
def _run(model, params, tokens, patch, other, kwargs):
  return run_patched(model, params, tokens, patch, other, **kwargs)


def _change(metric: Metric, after: jax.Array, before: jax.Array) -> np.ndarray:
  metric = as_pytree(metric)
  return np.asarray(metric(after, {}) - metric(before, {}))
