"""Exact edge patching: every edge's effect, measured one by one.

Patching one edge changes what one receiver reads; everything before its layer is as in
the base run, and everything after its node reads the stream as it then is. So a patch
costs one taken-apart layer and whole layers from there on, and a patch of an edge into
logits costs an unembedding.
"""

from collections.abc import Iterable
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np
import tqdm

from interp_jax.circuits.arguments import as_arrays, as_pytree
from interp_jax.circuits.edges import EdgeScores
from interp_jax.circuits.graph import Graph, make_graph
from interp_jax.circuits.metrics import Metric
from interp_jax.circuits.patched import GraphRun
from interp_jax.circuits.patches import both_runs, chunk_length
from interp_jax.core import Decomposable, Tokens


def edge_patching(
  model: Decomposable,
  params: Any,
  clean: Tokens,
  corrupt: Int[Array | np.ndarray, 'B T'] | Float[Array | np.ndarray, '*s'] | float,
  metric: Metric,
  *,
  edges: Iterable[str] | None = None,
  chunk: int | None = None,
  progress: bool = True,
  **kwargs: Any,
) -> EdgeScores:
  """The change of the metric when each edge alone is corrupted.

  Args:
    model: The model.
    params: Its parameters.
    clean: Tokens of the run that is patched into.
    corrupt: Tokens of the run that is patched in, or what the senders write instead,
      which broadcasts to `[S, B, T, D]`: means, or 0.0 for zero ablation.
    metric: A number, of the logits; `acts` are empty here.
    edges: Names of the edges to patch; None for all.
    chunk: The most edges to patch at once; None for as many as fit in memory.
    progress: Whether to show a progress bar.
    **kwargs: As for `run_patched`: `mask`, `logit_positions`, `frozen`.

  Returns:
    `metric(edge corrupted) - metric(clean)`; zero at edges that are not patched.

  Raises:
    ValueError: if there is no such edge, tokens do not fit each other or the chunk is
      not positive.
  """
  graph = make_graph(model.cfg)
  chosen = graph.edges if edges is None else graph.select(edges)
  clean, metric, kwargs = jnp.asarray(clean), as_pytree(metric), as_arrays(kwargs)
  base, other = both_runs(model, params, clean, corrupt, kwargs)
  shared = (params, clean, metric, base, other - base.senders, kwargs)
  values = np.zeros(graph.shape)
  before = np.asarray(metric(base.logits, {}))
  if before.shape:
    raise ValueError(
      f'The metric has shape {before.shape}; edge patching needs one number: take the '
      'mean over the batch.'
    )
  places = np.argwhere(chosen)
  layers = graph.receiver_layers[places[:, 0]]
  with tqdm.tqdm(total=len(places), unit='edge', disable=not progress) as bar:
    for group in _chunks(graph, layers, chunk, edge_bytes(graph, base)):
      receivers, senders = places[group].T
      start = int(layers[group[0]])
      at = receivers - start * graph.receivers_per_layer
      if start == graph.layers:
        out = _run_logits(model, *shared, senders)
      else:
        out = _run_layers(model, *shared, jnp.int32(start), at, senders)
      values[receivers, senders] = np.asarray(out) - before
      bar.update(len(np.unique(group)))
  return EdgeScores(graph, values)


def edge_bytes(graph: Graph, base: GraphRun) -> int:
  """An estimate of the memory that one patch takes while it runs.

  What the heads of one layer read and make of it, and twice the logits.
  """
  stream = base.senders.nbytes // graph.shape[1]
  return stream * 12 * graph.heads + 2 * base.logits.nbytes


def _chunks(
  graph: Graph, layers: np.ndarray, chunk: int | None, each: int
) -> list[np.ndarray]:
  """Places of the edges in groups of one layer; all groups but logits' have one size.

  The last group of a layer repeats its last edge, so that one program serves all.
  """
  inside = np.bincount(layers, minlength=graph.layers + 1)
  out = []
  size = chunk_length(int(inside[:-1].max(initial=1)), chunk, each)
  for layer in range(graph.layers + 1):
    here = np.flatnonzero(layers == layer)
    if layer == graph.layers:
      size = chunk_length(max(1, len(here)), chunk, each)
    for first in range(0, len(here), size):
      index = np.minimum(np.arange(first, first + size), len(here) - 1)
      out.append(here[index])
  return out


@functools.partial(jax.jit, static_argnums=0)
def _run_logits(model, params, tokens, metric, base, gap, kwargs, senders):
  positions = kwargs.pop('logit_positions', None)
  parts = model.decompose({'params': params}, tokens, **kwargs)

  def one(sender):
    return metric(parts.logits(base.streams[-1] + gap[sender], positions), {})

  return jax.vmap(one)(senders)


@functools.partial(jax.jit, static_argnums=0)
def _run_layers(model, params, tokens, metric, base, gap, kwargs, start, at, senders):
  """Patches of the receivers of one layer, `start`, which is traced."""
  graph = make_graph(model.cfg)
  positions = kwargs.pop('logit_positions', None)
  parts = model.decompose({'params': params}, tokens, **kwargs)
  pick = lambda leaf: jax.lax.dynamic_index_in_dim(leaf, start, keepdims=False)
  layer, stream = jax.tree.map(pick, (parts.layers, base.streams[:-1]))
  heads = 3 * graph.heads

  def patched_layer(receiver, gap):
    here = (jnp.arange(heads) == receiver)[:, None]
    reads = stream[:, :, None] + jnp.where(here, gap[:, :, None], 0)
    _, attn_out = parts.heads(layer, reads)
    after = stream + attn_out
    if graph.attn_only:
      return after
    read = (stream if graph.parallel else after) + jnp.where(receiver == heads, gap, 0)
    return after + parts.mlp(layer, read)

  def one(receiver, sender):
    def body(stream, xs):
      layer, index = xs
      run = lambda s: parts.layer(layer, s)
      return jax.lax.cond(index > start, run, lambda s: s, stream), None

    after = patched_layer(receiver, gap[sender])
    after, _ = jax.lax.scan(body, after, (parts.layers, jnp.arange(graph.layers)))
    return metric(parts.logits(after, positions), {})

  return jax.vmap(one)(at, senders)
