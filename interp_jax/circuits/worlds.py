"""Many worlds: one metric of one batch under many sets of edits, in one program.

A *world* is a slice of any pytree of arrays, and `edits_of` turns it into edits. All
worlds run through one compiled function, `vmap`ped over a chunk of them. A sweep over
a grid, a list of ablations and a search over circuits are this function with other
worlds.
"""

from collections.abc import Callable, Iterable, Mapping
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int
import numpy as np
import tqdm

from interp_jax.circuits.metrics import Metric, as_partial
from interp_jax.core import SITES, Acts, Model, Tokens

# What a chunk of worlds may take, by the estimate of `world_bytes`.
CHUNK_BYTES = 256 * 2**20
# The axis of a mesh that worlds are spread over.
DATA_AXIS = 'data'


def reference_run(
  model: Model,
  params: Any,
  tokens: Tokens,
  metric: Metric,
  sites: Iterable[str] = (),
  edits: Mapping[str, Any] | None = None,
  **kwargs: Any,
) -> tuple[Array, dict[str, Array]]:
  """The metric and some activations of one run.

  Args:
    model: The model.
    params: Its parameters.
    tokens: Token ids.
    metric: What to measure.
    sites: The activations to return.
    edits: Edits to run under.
    **kwargs: Passed to the model: `mask`, `logit_positions`.

  Returns:
    The metric's value, and site → activation.
  """
  names = tuple(sorted(sites))
  return _reference(model, names, params, as_partial(metric), tokens, edits, kwargs)


def run_worlds(
  model: Model,
  params: Any,
  tokens: Tokens,
  edits_of: Callable[[Any], Mapping[str, Any]],
  worlds: Any,
  metric: Metric,
  *,
  start_layers: Int[np.ndarray, 'W'] | None = None,
  base_acts: Acts | None = None,
  chunk: int | None = None,
  mesh: Mesh | None = None,
  progress: bool = True,
  **kwargs: Any,
) -> np.ndarray:
  """The metric in every world.

  Args:
    model: The model.
    params: Its parameters.
    tokens: Token ids.
    edits_of: World → edits. A callable pytree (arrays it holds are then arguments of
      the compiled function), or any function.
    worlds: A pytree of arrays, each with a leading axis W.
    metric: What to measure in each world.
    start_layers: The first layer that each world edits, in rising order. Worlds of a
      chunk restart there, from the base run's residual stream.
    base_acts: Activations of the base run, for restarts: `resid_pre` and every site
      that the metric reads.
    chunk: The most worlds to run at once; None for those of one layer, or as many of
      them as fit in `CHUNK_BYTES`.
    mesh: Spreads the worlds of a chunk over its `data` axis.
    progress: Whether to show a progress bar.
    **kwargs: Passed to the model: `mask`, `logit_positions`.

  Returns:
    The metric `[W, ...]`.

  Raises:
    ValueError: if the chunk is not positive or the mesh has no `data` axis.
  """
  total = len(jax.tree.leaves(worlds)[0])
  # Unless told otherwise, a chunk is of one layer: worlds of later layers would have
  # to restart with it.
  split = start_layers is not None and chunk is None
  group = int(np.bincount(start_layers).max()) if split else total
  per_world = world_bytes(model, params, tokens, **kwargs)
  chunk = chunk_size(group, chunk, per_world, mesh)
  edits_of = edits_of if _is_pytree(edits_of) else jax.tree_util.Partial(edits_of)
  shared = (params, as_partial(metric), edits_of, tokens, kwargs, base_acts)
  place = _placement(mesh)
  shared = place(shared, PartitionSpec())
  out = []
  with tqdm.tqdm(total=total, unit='world', disable=not progress) as bar:
    for first in range(0, total, chunk):
      # The last chunk repeats its last world, so that all chunks have one shape.
      index = np.minimum(np.arange(first, first + chunk), total - 1)
      some = jax.tree.map(lambda leaf, i=index: np.asarray(leaf)[i], worlds)
      start = None if start_layers is None else jnp.int32(start_layers[index].min())
      values = _run_chunk(model, *shared, start, place(some, PartitionSpec(DATA_AXIS)))
      out.append(np.asarray(values)[: total - first])
      bar.update(len(out[-1]))
  return np.concatenate(out)


def chunk_size(group: int, chunk: int | None, per_world: int, mesh: Mesh | None) -> int:
  """How many worlds to run at once: a multiple of the mesh's data axis.

  Args:
    group: The number of worlds to share out evenly.
    chunk: The most to run at once; None for as many as fit in `CHUNK_BYTES`.
    per_world: Bytes per world.
    mesh: The mesh that worlds are spread over.

  Returns:
    The number, evened out so that the chunks of a group are as equal as they can be.

  Raises:
    ValueError: if the chunk is not positive or the mesh has no `data` axis.
  """
  if chunk is not None and chunk < 1:
    raise ValueError(f'chunk is {chunk}; it must be at least 1, or None.')
  if mesh is not None and DATA_AXIS not in mesh.shape:
    raise ValueError(
      f'The mesh has axes {tuple(mesh.shape)}; worlds are spread over an axis named '
      f'{DATA_AXIS!r}. Give a mesh that has one.'
    )
  devices = 1 if mesh is None else mesh.shape[DATA_AXIS]
  most = chunk or devices * max(1, CHUNK_BYTES // max(1, per_world))
  even = math.ceil(group / math.ceil(group / most))
  return math.ceil(even / devices) * devices


def world_bytes(model: Model, params: Any, tokens: Tokens, **kwargs: Any) -> int:
  """An estimate of the memory that one world takes while it runs.

  The activations of one layer (the scan over layers keeps no more of what is not
  returned) and twice the logits.
  """
  logits, acts = output_shapes(model, params, tokens, **kwargs)
  layered = [(name, a) for name, a in acts.items() if SITES[name].layered]
  one_layer = sum(a.size // a.shape[0] * a.dtype.itemsize for _, a in layered)
  return one_layer + 2 * logits.size * logits.dtype.itemsize


def output_shapes(
  model: Model, params: Any, tokens: Tokens, **kwargs: Any
) -> tuple[jax.ShapeDtypeStruct, dict[str, jax.ShapeDtypeStruct]]:
  """The shapes of the model's logits and activations, without running it."""
  run = functools.partial(_apply, model)
  return jax.eval_shape(run, params, tokens, None, kwargs)


def sites_read(metric: Metric, logits: Any, acts: Mapping[str, Any]) -> frozenset[str]:
  """The sites that a metric reads, found by tracing it.

  Args:
    metric: The metric.
    logits: Logits, or their shape.
    acts: Activations, or their shapes.

  Returns:
    The names of the sites whose activations its value depends on.
  """
  names = sorted(acts)
  traced = jax.make_jaxpr(lambda lg, *a: metric(lg, dict(zip(names, a, strict=True))))(
    logits, *(acts[name] for name in names)
  ).jaxpr
  used = {id(v) for eqn in traced.eqns for v in eqn.invars}
  used |= {id(v) for v in traced.outvars}
  inputs = zip(names, traced.invars[1:], strict=True)
  return frozenset(name for name, var in inputs if id(var) in used)


def _apply(model, params, tokens, edits, kwargs):
  return model.apply({'params': params}, tokens, edits, **kwargs)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _reference(model, names, params, metric, tokens, edits, kwargs):
  logits, acts = _apply(model, params, tokens, edits, kwargs)
  return metric(logits, acts), {name: acts[name] for name in names}


@functools.partial(jax.jit, static_argnums=0)
def _run_chunk(
  model, params, metric, edits_of, tokens, kwargs, base_acts, start, worlds
):
  """One program: every chunk of every layer runs through it, `start` being traced."""

  def one(world):
    if start is None:
      logits, acts = _apply(model, params, tokens, edits_of(world), kwargs)
      return metric(logits, acts)
    restart = kwargs | {'start': start, 'resid': base_acts['resid_pre'][start]}
    logits, acts = _apply(model, params, None, edits_of(world), restart)
    return metric(logits, _with_prefix(acts, base_acts, start))

  return jax.vmap(one)(worlds)


def _with_prefix(acts, base_acts, start):
  """The activations of a restarted run, with the base run's before the restart."""
  first = list(SITES).index('resid_pre')
  before = set(list(SITES)[:first])
  out = dict(acts)
  for name, base in base_acts.items():
    if SITES[name].layered:
      computed = jnp.arange(base.shape[0]) >= start
      out[name] = jnp.where(
        computed.reshape([-1] + [1] * (base.ndim - 1)), acts[name], base
      )
    elif name in before:
      out[name] = base
  return out


def _is_pytree(function: Any) -> bool:
  return jax.tree.structure(function) != jax.tree.structure(0)


def _placement(mesh: Mesh | None) -> Callable[[Any, PartitionSpec], Any]:
  """Puts arrays on the mesh, but for those that are there already."""
  if mesh is None:
    return lambda tree, spec: tree
  devices = set(mesh.devices.flat)

  def place(leaf, spec):
    if isinstance(leaf, jax.Array) and leaf.sharding.device_set == devices:
      return leaf
    return jax.device_put(leaf, NamedSharding(mesh, spec))

  return lambda tree, spec: jax.tree.map(lambda leaf: place(leaf, spec), tree)
