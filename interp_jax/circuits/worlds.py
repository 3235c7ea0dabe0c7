"""Many worlds: one metric of one batch under many sets of edits, in one program.

A *world* is a slice of any pytree of arrays, and `edits_of` turns it into edits. All
worlds run through one compiled function, `vmap`ped over a chunk of them. A sweep over
a grid, a list of ablations and a search over circuits are this function with other
worlds.
"""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int
import numpy as np
import tqdm

from interp_jax.circuits.arguments import as_pytree
from interp_jax.circuits.errors import Stopped
from interp_jax.circuits.journal import Journal
from interp_jax.circuits.metrics import Metric
from interp_jax.circuits.plan import Chunk, Costs, make_plan
from interp_jax.circuits.restart import Base, call, measure, run_world
from interp_jax.core import SITES, Acts, Model, Tokens

# What a chunk of worlds may take, by the estimate of `world_bytes`.
CHUNK_BYTES = 256 * 2**20
# The axis of a mesh that worlds are spread over.
DATA_AXIS = 'data'
# Between looks at what other processes have done.
_POLL_S = 0.5
# Rows that take as long as reading a layer's weights: measured on two cores; on
# accelerators more are needed before the products are the larger part.
_FIXED_ROWS = {'cpu': 64}


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
  metric = as_pytree(metric)
  return _reference(model, names, False, params, metric, tokens, edits, kwargs)[:2]


def base_run(
  model: Model,
  params: Any,
  tokens: Tokens,
  metric: Metric,
  sites: Iterable[str] = (),
  edits: Mapping[str, Any] | None = None,
  **kwargs: Any,
) -> tuple[Array, Base]:
  """The metric of a run, and what worlds that differ from it need of it.

  Args:
    model: The model.
    params: Its parameters.
    tokens: Token ids.
    metric: What to measure.
    sites: The activations to keep.
    edits: Edits to run under.
    **kwargs: Passed to the model: `mask`, `logit_positions`.

  Returns:
    The metric's value, and the run.
  """
  names, tokens = tuple(sorted(sites)), jnp.asarray(tokens)
  value, acts, logits = _reference(
    model, names, True, params, as_pytree(metric), tokens, edits, kwargs
  )
  return value, Base(tokens, kwargs, edits, acts, logits)


def run_worlds(
  model: Model,
  params: Any,
  tokens: Tokens,
  edits_of: Callable[[Any], Mapping[str, Any]],
  worlds: Any,
  metric: Metric,
  *,
  start_layers: Int[np.ndarray, 'W'] | None = None,
  start_positions: Int[np.ndarray, 'W'] | None = None,
  base_acts: Acts | None = None,
  base: Base | None = None,
  chunk: int | None = None,
  programs: int | None = None,
  mesh: Mesh | None = None,
  share: tuple[int, int] = (0, 1),
  journal: Journal | None = None,
  should_stop: Callable[[], bool] = lambda: False,
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
    start_layers: The first layer that each world edits. Worlds of a chunk restart at
      the earliest of theirs, from the base run's residual stream. None to run them
      from the tokens.
    start_positions: The first position that each world edits; worlds of a chunk
      restart at the earliest of theirs, or before. Every edit must act on positions
      one by one, as all but a `Splice` of an arbitrary function do. None for 0.
    base_acts: Activations of the base run, for restarts: `resid_pre`, every site that
      the metric reads and, for restarts at positions, the model's `restart_sites`.
    base: The base run as `base_run` gives it, instead of `base_acts` and of further
      arguments of the model.
    chunk: The most worlds to run at once; None for as many as are fastest and fit in
      `CHUNK_BYTES`.
    programs: The most programs to compile, each for another first position; None for
      as many as are worth compiling.
    mesh: Spreads the worlds of a chunk over its `data` axis.
    share: `(i, n)`: run every n-th world, from the i-th, and wait until other
      processes have put the rest into the journal.
    journal: Where to keep what is done, to go on from there.
    should_stop: Asked after every chunk; True ends the sweep.
    progress: Whether to show a progress bar.
    **kwargs: Passed to the model: `mask`, `logit_positions`.

  Returns:
    The metric `[W, ...]`.

  Raises:
    ValueError: if the chunk is not positive or the mesh has no `data` axis.
    Stopped: if it was told to stop.
  """
  base = base or Base(jnp.asarray(tokens), kwargs, None, base_acts)
  metric, devices = as_pytree(metric), _data_devices(mesh)
  total = len(jax.tree.leaves(worlds)[0])
  done = {} if journal is None else journal.read()
  mine = range(share[0], total, share[1])
  waiting = np.array([world for world in mine if world not in done], int)
  firsts = start_layers, start_positions
  plan = _plan(model, params, base, waiting, firsts, chunk, devices, programs)
  edits_of = as_pytree(edits_of)
  place = _placement(mesh)
  shared = place((params, metric, edits_of), PartitionSpec())
  bases = {at: place(_from(base, at), PartitionSpec()) for at in _starts(plan)}
  with tqdm.tqdm(
    total=total, initial=len(done), unit='world', disable=not progress
  ) as bar:
    for part in plan:
      some = jax.tree.map(lambda leaf, i=part.worlds: np.asarray(leaf)[i], worlds)
      some = place(some, PartitionSpec(DATA_AXIS))
      start = None if start_layers is None else jnp.int32(part.layer)
      values = np.asarray(
        _run_chunk(model, part.position, *shared, bases[part.position], start, some)
      )
      finished = {
        int(world): np.asarray(value)
        for world, value in zip(part.worlds[: part.count], values, strict=False)
      }
      done |= finished
      if journal is not None:
        journal.write(finished)
      bar.update(part.count)
      if should_stop() and len(done) < total:
        raise Stopped(f'{len(done)} of {total} worlds are done')
    while journal is not None and len(done) < total:  # Others are at work.
      if should_stop():
        raise Stopped(f'waiting for other processes at {len(done)} of {total} worlds')
      time.sleep(_POLL_S)
      done |= journal.read()
  return np.stack([done[world] for world in range(total)])


def world_bytes(
  model: Model, params: Any, tokens: Tokens, share: float = 1.0, **kwargs: Any
) -> int:
  """An estimate of the memory that one world takes while it runs.

  The activations of one layer (the scan over layers keeps no more of what is not
  returned) and twice the logits.

  Args:
    model: The model.
    params: Its parameters.
    tokens: Token ids.
    share: The share of the positions that is run.
    **kwargs: Passed to the model.
  """
  logits, acts = output_shapes(model, params, tokens, **kwargs)
  layered = [(name, a) for name, a in acts.items() if SITES[name].layered]
  one_layer = sum(a.size // a.shape[0] * a.dtype.itemsize for _, a in layered)
  return int(share * one_layer) + 2 * logits.size * logits.dtype.itemsize


def output_shapes(
  model: Model, params: Any, tokens: Any, **kwargs: Any
) -> tuple[jax.ShapeDtypeStruct, dict[str, jax.ShapeDtypeStruct]]:
  """The shapes of the model's logits and activations, without running it."""
  return _apply.eval_shape(model, params, tokens, kwargs)


def base_shapes(
  model: Model,
  params: Any,
  tokens: Any,
  metric: Metric,
  sites: Iterable[str],
  **kwargs: Any,
) -> dict[str, jax.ShapeDtypeStruct]:
  """The shapes of what `base_run` keeps, without running it.

  Args:
    model: The model.
    params: Its parameters, or their shapes.
    tokens: Token ids, or their shape.
    metric: What to measure.
    sites: The activations to keep.
    **kwargs: Passed to the model.
  """
  names = tuple(sorted(sites))
  shapes = _reference.eval_shape(
    model, names, False, params, metric, tokens, None, kwargs
  )
  return shapes[1]


def lower_chunk(model: Model, first: int, *args: Any) -> jax.stages.Lowered:
  """The program that `run_worlds` runs, from shapes; arguments as of `_run_chunk`."""
  return _run_chunk.lower(model, first, *args)


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
  used = {id(v) for v in traced.outvars}
  for eqn in reversed(traced.eqns):
    if any(id(v) in used for v in eqn.outvars):
      used |= {id(v) for v in eqn.invars}
  inputs = zip(names, traced.invars[1:], strict=True)
  return frozenset(name for name, var in inputs if id(var) in used)


def _plan(
  model: Model,
  params: Any,
  base: Base,
  waiting: np.ndarray,
  firsts: tuple[np.ndarray | None, np.ndarray | None],
  chunk: int | None,
  devices: int,
  programs: int | None,
) -> list[Chunk]:
  """The chunks of the worlds that are not done."""
  if chunk is not None and chunk < 1:
    raise ValueError(f'chunk is {chunk}; it must be at least 1, or None.')
  if not len(waiting):
    return []
  (layers, positions), (batch, length) = firsts, base.tokens.shape
  shapes = output_shapes(model, params, base.tokens, **base.kwargs)[1]
  stacked = [a.shape[0] for name, a in shapes.items() if SITES[name].layered]
  depth = stacked[0] if stacked else 1
  flops = 2 * sum(leaf.size for leaf in jax.tree.leaves(params)) / depth
  fixed = _FIXED_ROWS.get(jax.default_backend(), 1024) * devices
  costs = Costs(depth, length, batch, fixed, flops)

  def most(run: int) -> int:
    share = run / length
    one = world_bytes(model, params, base.tokens, share, **base.kwargs)
    fits = devices * max(1, CHUNK_BYTES // max(1, one))
    return fits if chunk is None else chunk

  zeros = np.zeros(len(waiting), int)
  chunks = make_plan(
    zeros if layers is None else np.asarray(layers)[waiting],
    zeros if positions is None else np.asarray(positions)[waiting],
    costs,
    most,
    devices,
    programs,
  )
  return [dataclasses.replace(part, worlds=waiting[part.worlds]) for part in chunks]


def _starts(plan: list[Chunk]) -> set[int]:
  return {part.position for part in plan}


def _from(base: Base, position: int) -> Base:
  """The base run for worlds that start at a position: logits only if they are read."""
  at = base.kwargs.get('logit_positions')
  read = position > 0 and (at is None or int(np.min(at)) < position)
  if read and base.logits is None:
    raise ValueError(
      f'Worlds start at position {position}, and the metric reads logits before it: '
      "give the base run with them (`base_run`), or `logit_positions` that don't."
    )
  return base if read else dataclasses.replace(base, logits=None)


# Compiled never, but traced once for arguments of the same shapes.
@functools.partial(jax.jit, static_argnums=0)
def _apply(model, params, tokens, kwargs):
  return model.apply({'params': params}, tokens, None, **kwargs)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _reference(model, names, keep_logits, params, metric, tokens, edits, kwargs):
  logits, acts = call(model, params, tokens, edits, kwargs, metric)
  value = measure(model, metric, logits, acts)
  kept = {name: acts[name] for name in names}
  return value, kept, logits if keep_logits else None


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run_chunk(model, first, params, metric, edits_of, base, start, worlds):
  """One program: every chunk of every layer runs through it, `start` being traced."""
  run = functools.partial(run_world, model, params, metric, base)
  return jax.vmap(lambda world: run(edits_of(world), start, first))(worlds)


def _data_devices(mesh: Mesh | None) -> int:
  if mesh is None:
    return 1
  if DATA_AXIS not in mesh.shape:
    raise ValueError(
      f'The mesh has axes {tuple(mesh.shape)}; worlds are spread over an axis named '
      f'{DATA_AXIS!r}. Give a mesh that has one.'
    )
  return mesh.shape[DATA_AXIS]


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
