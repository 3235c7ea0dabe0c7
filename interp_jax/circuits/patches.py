"""Many patches of the residual graph, each measured: circuits, ablations, searches."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped
import numpy as np
import tqdm

from interp_jax.circuits.arguments import as_arrays, as_pytree
from interp_jax.circuits.graph import Graph, make_graph
from interp_jax.circuits.metrics import Metric
from interp_jax.circuits.patched import GraphRun, check_patch, run_patched
from interp_jax.core import Decomposable, Tokens

# What a chunk of patches may take, by the estimate of `patch_bytes`.
CHUNK_BYTES = 256 * 2**20


def graph_run(
  model: Decomposable, params: Any, tokens: Tokens, **kwargs: Any
) -> GraphRun:
  """The model's own run, compiled once per shape, with what every sender wrote.

  Args:
    model: The model.
    params: Its parameters.
    tokens: The tokens.
    **kwargs: As for `run_patched`: `mask`, `logit_positions`, `frozen`.
  """
  return _graph_run(model, params, jnp.asarray(tokens), as_arrays(kwargs))


def both_runs(
  model: Decomposable, params: Any, clean: Tokens, corrupt: Any, kwargs: dict[str, Any]
) -> tuple[GraphRun, Array]:
  """The clean run, and what the senders write in the corrupted one, `[S, B, T, D]`.

  Args:
    model: The model.
    params: Its parameters.
    clean: Tokens of the clean run.
    corrupt: Tokens of the corrupted run, or what the senders write in it, which
      broadcasts.
    kwargs: As for `run_patched`.

  Raises:
    ValueError: if tokens do not fit each other.
  """
  own = graph_run(model, params, clean, **kwargs)
  if check_corrupt(clean, corrupt):
    return own, graph_run(model, params, corrupt, **kwargs).senders
  other = jnp.asarray(corrupt, own.senders.dtype)
  return own, jnp.broadcast_to(other, own.senders.shape)


def check_corrupt(clean: Any, corrupt: Any) -> bool:
  """Whether `corrupt` are tokens; refuses tokens that do not fit the clean ones.

  Raises:
    ValueError: if they do not.
  """
  if not jnp.issubdtype(jnp.result_type(corrupt), jnp.integer) or not np.ndim(corrupt):
    return False
  if np.shape(corrupt) != np.shape(clean):
    raise ValueError(
      f'The corrupted tokens have shape {np.shape(corrupt)}, the clean ones '
      f'{np.shape(clean)}: give tokens that align position by position, or activations '
      '(floating-point).'
    )
  return True


def run_patches(
  model: Decomposable,
  params: Any,
  tokens: Tokens,
  patches: Shaped[np.ndarray, 'W R S *bt'],
  other: Any,
  metric: Metric,
  *,
  base: GraphRun | None = None,
  chunk: int | None = None,
  progress: bool = True,
  **kwargs: Any,
) -> np.ndarray:
  """The metric under each of many patches.

  Patches are run in the order of the first layer that they touch, and from the stream
  before that layer on: a patch of the last layer costs the last layer.

  Args:
    model: The model.
    params: Its parameters.
    tokens: Tokens of the runs.
    patches: As for `run_patched`, with an axis in front.
    other: What the senders write in the other run; broadcasts to `[S, B, T, D]`.
    metric: What to measure, of the logits; `acts` are empty here.
    base: `graph_run` of the same tokens and arguments; run here if it is not given.
    chunk: The most patches to run at once; None for as many as fit in `CHUNK_BYTES`.
    progress: Whether to show a progress bar.
    **kwargs: As for `run_patched`: `mask`, `logit_positions`, `frozen`.

  Returns:
    The metric, `[W, ...]`.

  Raises:
    ValueError: if shapes do not fit the model or the chunk is not positive.
  """
  graph = make_graph(model.cfg)
  patches, kwargs = np.asarray(patches), as_arrays(kwargs)
  if len(patches) == 0:
    raise ValueError('run_patches: there are no patches; give at least one.')
  check_patch(graph, patches[0], other)
  tokens = jnp.asarray(tokens)
  base = base or graph_run(model, params, tokens, **kwargs)
  starts = start_layers(graph, patches)
  order = np.argsort(-starts, kind='stable')
  size = chunk_length(len(patches), chunk, patch_bytes(graph, base))
  shared = (params, as_pytree(metric), tokens, other, base, kwargs)
  out = []
  with tqdm.tqdm(total=len(patches), unit='patch', disable=not progress) as bar:
    for first in range(0, len(patches), size):
      # The last chunk repeats its last patch, so that all chunks have one shape.
      places = np.minimum(np.arange(first, first + size), len(patches) - 1)
      here = order[places]
      start = jnp.int32(starts[here].min())
      values = _run_chunk(model, *shared, start, patches[here])
      out.append(np.asarray(values)[: len(patches) - first])
      bar.update(len(out[-1]))
  return np.concatenate(out)[np.argsort(order)]


def start_layers(graph: Graph, patches: Shaped[np.ndarray, 'W R S *bt']) -> np.ndarray:
  """The first layer that each patch touches, `[W]`; `layers` for logits alone."""
  edges = graph.edges.reshape(*graph.shape, *[1] * (patches.ndim - 3))
  read = ((patches != 0) & edges).any(tuple(range(2, patches.ndim)))
  layers = np.where(read, graph.receiver_layers, graph.layers)
  return layers.min(1)


def patch_bytes(graph: Graph, base: GraphRun) -> int:
  """An estimate of the memory that one patch takes while it runs.

  The gaps of all senders, what the heads of one layer read and what they make of it,
  and twice the logits.
  """
  stream = base.senders.nbytes // graph.shape[1]
  return stream * (2 * graph.shape[1] + 12 * graph.heads) + 2 * base.logits.nbytes


def chunk_length(total: int, chunk: int | None, each: int) -> int:
  """How many to run at once, so that the chunks are as equal as they can be.

  Raises:
    ValueError: if the chunk is not positive.
  """
  if chunk is not None and chunk < 1:
    raise ValueError(f'chunk is {chunk}; it must be at least 1, or None.')
  most = chunk or max(1, CHUNK_BYTES // max(1, each))
  return math.ceil(total / math.ceil(total / most))


@functools.partial(jax.jit, static_argnums=0)
def _graph_run(model, params, tokens, kwargs):
  return run_patched(model, params, tokens, **kwargs)


@functools.partial(jax.jit, static_argnums=0)
def _run_chunk(model, params, metric, tokens, other, base, kwargs, start, patches):
  """One program for every chunk, `start` being traced."""

  def one(patch):
    run = run_patched(
      model, params, tokens, patch, other, start=start, base=base, **kwargs
    )
    return metric(run.logits, {})

  return jax.vmap(one)(patches)
