"""Activation patching over a grid: which activation carries the answer?

Two runs of a model, a *base* and a *source*, differ in what they answer. A sweep
patches the source's activation into the base run at one point of a grid after the other
(a layer and a position, a layer and a head, ...) and measures the answer each time.
With the corrupted run as base and the clean one as source it is denoising ("what is
enough to restore the answer?"), the other way round noising ("what breaks it?").
"""

from collections.abc import Callable, Mapping, Sequence
import os
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Int
import numpy as np

from interp_jax import edits as edits_lib
from interp_jax.circuits import features
from interp_jax.circuits.edit_list import stack_worlds
from interp_jax.circuits.grid import Grid, PatchPoint, make_grid
from interp_jax.circuits.metrics import Metric
from interp_jax.circuits.reach import Reach, differs, reach_of_edits, reach_of_grid
from interp_jax.circuits.result import SweepResult
from interp_jax.circuits.runner import Options, Runner, make_runner
from interp_jax.circuits.sources import Ablation, find_ablation
from interp_jax.circuits.worlds import base_run
from interp_jax.core import SITES, Model, Tokens, unknown

Source = Int[Array | np.ndarray, '...'] | Mapping[str, Any] | Ablation | str | None
Sites = str | Sequence[str] | Sequence[edits_lib.Edits]


def sweep(
  model: Model,
  params: Any,
  base_tokens: Tokens,
  source: Source,
  site: Sites,
  over: Sequence[str] | str = ('layer', 'position'),
  *,
  metric: Metric,
  logit_positions: Sequence[int] | Int[Array | np.ndarray, '*b P'] | None = None,
  mask: Any = None,
  within: Any = None,
  at: Mapping[str, Sequence[int]] | None = None,
  window: int = 1,
  dictionary: Any = None,
  base_edits: edits_lib.Edits | None = None,
  restart: str = 'positions',
  chunk: int | None = None,
  programs: int | None = None,
  mesh: Mesh | None = None,
  workdir: str | os.PathLike | None = None,
  share: tuple[int, int] = (0, 1),
  should_stop: Callable[[], bool] = lambda: False,
  progress: bool = True,
) -> SweepResult:
  """Patches the source's activation into the base run at every point of a grid.

  Worlds run together in chunks that fit in memory, a few programs for the whole grid. A
  world starts at the layer and, in causal models, at the position where it first
  changes something; one that changes nothing is not run. The results are those of
  running every world from the tokens.

  Args:
    model: The model.
    params: Its parameters.
    base_tokens: Tokens `[B, T]` of the run that is patched into.
    source: What is put in the place of activations: those of the run on other tokens
      `[B, T]`; activations that are given, site → array that broadcasts to
      `acts[site]`; or an ablation: 'zero', 'mean', 'resample', or `Zero`, `Mean`,
      `Resample`. None with a list of edits.
    site: The site to patch, or several, one after the other (the axis 'site' of the
      result). Or a list of edits, any `site → edit`, each a world (the axis 'edit').
    over: The axes of the grid: of 'layer', 'batch', 'position', 'key_position',
      'head', 'unit', 'expert' and 'choice', those that the site has; 'feature' with a
      dictionary.
    metric: What to measure: a function of logits and acts.
    logit_positions: The positions that the metric reads, `[P]` or `[B, P]`; it then
      sees only their logits. None for all.
    mask: Padding, `[B, T]` bool, True at real tokens; as the model takes it.
    within: A boolean mask that broadcasts to `acts[site]`: patch nothing outside it.
    at: Axis → the indices to sweep over, for axes that are not swept whole.
    window: How many layers to patch together, around the layer of the grid.
    dictionary: A callable pytree with `encode` and `decode`, spliced in with its
      error: codes of features are patched, at the layer that `at` names.
    base_edits: Edits of the base run, which all worlds have too.
    restart: 'positions' to start each world at its layer and position, 'layers' at its
      layer, 'none' at the tokens. What the model does not take is left out.
    chunk: The most worlds to run at once; None for as many as are fastest and fit in
      memory.
    programs: The most programs to compile, one for each position to start at; None for
      as many as are worth it.
    mesh: Spreads worlds over the devices of its `data` axis.
    workdir: A folder to keep finished worlds in: a sweep that was killed goes on from
      there when it is called again. Another sweep is told by its model, parameters,
      tokens, edits and metric; of a metric that is a plain function, by its name.
    share: Which process this is and of how many, where several share the sweep and the
      folder: each runs its worlds on its own devices, and waits for those of others.
    should_stop: Asked after every chunk; True ends the sweep.
    progress: Whether to show a progress bar.

  Returns:
    The metric at every point, with that of both runs.

  Raises:
    ValueError: if the model has no such site, the site no such axis, an index is out
      of range, base and source do not fit each other, the folder holds another sweep,
      or several processes have none.
    Stopped: if it was told to stop.
  """
  options = Options(
    restart, chunk, programs, mesh, workdir, share, should_stop, progress
  )
  start = {'logit_positions': logit_positions, 'mask': mask, 'base_edits': base_edits}
  if not isinstance(site, str) and isinstance(next(iter(site), None), Mapping):
    given: Any = site
    todo = [edits_lib.as_tuples(one) for one in given]
    sites = tuple(dict.fromkeys(name for one in todo for name in one))
    runner = make_runner(model, params, base_tokens, metric, options, sites, **start)
    return _sweep_edits(runner, todo, sites)
  sites = (site,) if isinstance(site, str) else tuple(map(str, site))
  if not sites:
    raise ValueError('site is empty: name one site or more, or give edits.')
  runner = make_runner(model, params, base_tokens, metric, options, sites, **start)
  measured, values = _read_source(runner, source, sites)
  over = (over,) if isinstance(over, str) else tuple(over)
  patches = []
  for name in sites:
    if dictionary is None:
      one = _patch_points(runner, values, name, over, at, within, window)
    else:
      one = _patch_features(runner, values, name, over, at, within, dictionary)
    patches.append(one)
  grid = _same_grid([patch.grid for patch, _ in patches])
  found = []
  for name, (patch, reach) in zip(sites, patches, strict=True):
    flat = runner.run(name, patch, grid.points(), reach)
    found.append(flat.reshape(grid.sizes + flat.shape[1:]))
  coordinates: dict[str, Any] = dict(zip(grid.names, grid.coordinates, strict=True))
  base = np.asarray(runner.value)
  if isinstance(site, str):
    return SweepResult(sites, grid.names, coordinates, found[0], base, measured)
  axes, coordinates = ('site', *grid.names), {'site': sites, **coordinates}
  return SweepResult(sites, axes, coordinates, np.stack(found), base, measured)


def _same_grid(grids: Sequence[Grid]) -> Grid:
  """The grid of all sites."""
  first = grids[0]
  for other in grids[1:]:
    if other.coordinates != first.coordinates:
      raise ValueError(
        f'Sites {first.site!r} and {other.site!r} have grids of sizes {first.sizes} '
        f'and {other.sizes}; sweep them one by one, or choose the same indices by `at`.'
      )
  return first


def _patch_points(
  runner: Runner,
  values: Callable[..., Any],
  site: str,
  over: Sequence[str],
  at: Mapping[str, Sequence[int]] | None,
  within: Any,
  window: int,
) -> tuple[PatchPoint, Reach]:
  """The patches of a site, and their reach."""
  if window < 1:
    raise ValueError(f'window is {window}: patch one layer or more.')
  grid = make_grid(site, runner.shapes[site].shape, over, at)
  act = runner.base.acts[site]
  value = values(site, act, SITES[site].full_axes)
  changed = differs(value, act)
  changed = changed if within is None else changed & jnp.asarray(within)
  reach = reach_of_grid(grid, changed, runner.depth, window)
  return PatchPoint(value, within, grid, window), reach


def _sweep_edits(
  runner: Runner, todo: Sequence[Mapping[str, Any]], sites: tuple[str, ...]
) -> SweepResult:
  """Every set of edits as a world; those of one structure run together."""
  firsts = [
    reach_of_edits(one, runner.base.acts, runner.depth, runner.length) for one in todo
  ]
  values: list[Any] = [None] * len(todo)
  for number, group in enumerate(stack_worlds(todo)):
    layers, positions = np.array([firsts[i] for i in group.members]).T
    layers = np.minimum(layers, runner.depth - 1)
    reach = Reach(layers, positions)
    found = runner.run(f'edits-{number}', group.edits_of, group.worlds, reach)
    for i, value in zip(group.members, found, strict=True):
      values[i] = value
  base = np.asarray(runner.value)
  unknown_source = np.full(base.shape, np.nan)
  coordinates = {'edit': tuple(range(len(todo)))}
  return SweepResult(
    sites, ('edit',), coordinates, np.stack(values), base, unknown_source
  )


def _patch_features(
  runner: Runner,
  values: Callable[..., Any],
  site: str,
  over: Sequence[str],
  at: Mapping[str, Sequence[int]] | None,
  within: Any,
  dictionary: Any,
) -> tuple[features.PatchFeature, Reach]:
  """The patches of a dictionary's features, and their reach."""
  features.check_site(site)
  shape = runner.shapes[site].shape
  act = jax.ShapeDtypeStruct(shape[1:], runner.shapes[site].dtype)
  width = jax.eval_shape(lambda d, x: d.encode(x), dictionary, act).shape[-1]
  grid, layer = features.feature_grid(site, shape, width, over, at)
  base = runner.base.acts[site][layer]
  codes = features.encode(dictionary, base)
  others = values(site, codes, ('B', 'T', 'F'), (dictionary, layer))
  patch = features.PatchFeature(dictionary, codes, others, base, within, grid, layer)
  reach = reach_of_grid(grid, differs(others, codes), runner.depth)
  return patch, Reach(np.full(len(reach.layers), layer), reach.positions)


def _read_source(
  runner: Runner, source: Source, sites: tuple[str, ...]
) -> tuple[np.ndarray, Callable[..., Any]]:
  """The metric of the source run (NaN if not known), and what gives values.

  The latter takes a site, what is replaced (the base run's activation, or its codes)
  with its letters, and for codes the dictionary and its layer.
  """
  mask = runner.base.kwargs.get('mask')
  nothing = np.full(np.shape(runner.value), np.nan)
  ablation = find_ablation(source)
  if ablation is not None:
    return nothing, lambda site, act, letters, *_: ablation.value(act, letters, mask)
  if isinstance(source, Mapping):
    for site in sites:
      if site not in source:
        raise ValueError(unknown("site of the source's activations", site, source))
    measured, acts = nothing, source
  else:
    tokens, given = runner.base.tokens, np.asarray(source)
    if given.shape != tokens.shape:
      raise ValueError(
        f'source has shape {given.shape}, base_tokens {tokens.shape}: give tokens that '
        'align position by position, activations (site → array) or an ablation.'
      )
    # By the program of the base run, so that what is equal is equal bit by bit.
    measured, run = base_run(
      runner.model,
      runner.params,
      given,
      runner.metric,
      runner.base.acts,
      **runner.base.kwargs,
    )
    acts = run.acts

  def values(site, act, letters, codes=None):
    del act, letters
    if codes is None:
      return acts[site]
    dictionary, layer = codes
    whole = jnp.broadcast_to(acts[site], runner.shapes[site].shape)
    return features.encode(dictionary, whole[layer])

  return np.asarray(measured), values
