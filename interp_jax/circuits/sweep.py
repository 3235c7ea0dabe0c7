"""Activation patching over a grid: which activation carries the answer?

Two runs of a model, a *base* and a *source*, differ in what they answer. A sweep
patches the source's activation into the base run at one point of a grid after the other
(a layer and a position, a layer and a head, ...) and measures the answer each time.
With the corrupted run as base and the clean one as source it is denoising ("what is
enough to restore the answer?"), the other way round noising ("what breaks it?").
"""

from collections.abc import Callable, Mapping, Sequence
import functools
from typing import Any

import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Int
import numpy as np

from interp_jax.circuits.grid import PatchPoint, make_grid
from interp_jax.circuits.metrics import Metric, as_partial
from interp_jax.circuits.result import SweepResult
from interp_jax.circuits.worlds import (
  output_shapes,
  reference_run,
  run_worlds,
  sites_read,
)
from interp_jax.core import Model, Tokens, unknown


def sweep(
  model: Model,
  params: Any,
  base_tokens: Tokens,
  source: Int[Array | np.ndarray, '...'] | Mapping[str, Any],
  site: str,
  over: Sequence[str] = ('layer', 'position'),
  *,
  metric: Metric,
  logit_positions: Sequence[int] | Int[Array | np.ndarray, '*b P'] | None = None,
  mask: Any = None,
  within: Any = None,
  at: Mapping[str, Sequence[int]] | None = None,
  restart: bool = True,
  chunk: int | None = None,
  mesh: Mesh | None = None,
  progress: bool = True,
) -> SweepResult:
  """Patches the source's activation into the base run at every point of a grid.

  One function is compiled for the whole grid. Worlds of one layer run together, and
  start from the base run's residual stream before that layer.

  Args:
    model: The model.
    params: Its parameters.
    base_tokens: Tokens `[B, T]` of the run that is patched into.
    source: Tokens `[B, T]` of the run that activations come from, or activations:
      site → array that broadcasts to `acts[site]` (of any run, a mean, zeros).
    site: The site to patch.
    over: The axes of the grid: of 'layer', 'batch', 'position', 'key_position',
      'head' and 'unit', those that the site has.
    metric: What to measure: a function of logits and acts.
    logit_positions: The positions that the metric reads, `[P]` or `[B, P]`; it then
      sees only their logits. None for all.
    mask: Padding, `[B, T]` bool, True at real tokens; as the model takes it.
    within: A boolean mask that broadcasts to `acts[site]`: patch nothing outside it.
    at: Axis → the indices to sweep over, for axes that are not swept whole.
    restart: Whether to start each world at its layer; for models that take `start`
      and `resid`.
    chunk: The most worlds to run at once; None for those of one layer, or as many of
      them as fit in memory.
    mesh: Spreads worlds over the devices of its `data` axis.
    progress: Whether to show a progress bar.

  Returns:
    The metric at every point, with that of both runs.

  Raises:
    ValueError: if the model has no such site, the site no such axis, an index is out
      of range, or base and source do not fit each other.
  """
  kwargs = {'logit_positions': logit_positions, 'mask': mask}
  kwargs = {k: jnp.asarray(v) for k, v in kwargs.items() if v is not None}
  base_tokens, metric = jnp.asarray(base_tokens), as_partial(metric)
  logits, shapes = output_shapes(model, params, base_tokens, **kwargs)
  if site not in shapes:
    raise ValueError(unknown('site of this model', site, shapes))
  grid = make_grid(site, shapes[site].shape, over, at)
  restart = restart and 'layer' in grid.names
  kept = {site, 'resid_pre', *sites_read(metric, logits, shapes)} if restart else {site}
  run = functools.partial(
    reference_run, model, params, metric=metric, sites=kept, **kwargs
  )
  base, base_acts = run(base_tokens)
  source_metric, value = _read_source(run, source, base_tokens, site, base)
  points = grid.points()
  # Without restarts the order of the worlds does not matter.
  layers = points[:, grid.names.index('layer')] if restart else np.zeros(len(points))
  order = np.argsort(layers, kind='stable')
  values = run_worlds(
    model,
    params,
    base_tokens,
    PatchPoint(value, within, grid),
    points[order],
    metric,
    start_layers=layers[order] if restart else None,
    base_acts=base_acts if restart else None,
    chunk=chunk,
    mesh=mesh,
    progress=progress,
    **kwargs,
  )
  values = values[np.argsort(order)].reshape(grid.sizes + values.shape[1:])
  coordinates = dict(zip(grid.names, grid.coordinates, strict=True))
  base = np.asarray(base)
  return SweepResult(site, grid.names, coordinates, values, base, source_metric)


def _read_source(
  run: Callable[..., Any], source: Any, base_tokens: Any, site: str, base: Any
) -> tuple[np.ndarray, Any]:
  """The metric (NaN if not known) and the site's activation of the source run."""
  if isinstance(source, Mapping):
    if site not in source:
      raise ValueError(unknown("site of the source's activations", site, source))
    return np.full(np.shape(base), np.nan), source[site]
  if np.shape(source) != np.shape(base_tokens):
    raise ValueError(
      f'source has shape {np.shape(source)}, base_tokens {np.shape(base_tokens)}: give '
      'tokens that align position by position, or activations (site → array).'
    )
  measured, acts = run(jnp.asarray(source), sites=(site,))
  return np.asarray(measured), acts[site]
