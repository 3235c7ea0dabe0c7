"""What the sweeps of one base run share: how worlds restart, and what they are kept by.

A runner knows the model, the base run and the metric. It is given worlds with the first
layer and position that each changes, leaves out those that change nothing, and runs the
rest as far as the model can be restarted.
"""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import functools
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np

from interp_jax.circuits import restart as restarts
from interp_jax.circuits.arguments import as_arrays, as_pytree
from interp_jax.circuits.journal import Journal, fingerprint, named
from interp_jax.circuits.metrics import Metric
from interp_jax.circuits.reach import Reach
from interp_jax.circuits.worlds import base_run, output_shapes, run_worlds, sites_read
from interp_jax.core import SITES, Model, Tokens, unknown

RESTARTS = ('positions', 'layers', 'none')


@dataclasses.dataclass(frozen=True)
class Options:
  """How to run, whatever is run.

  Attributes:
    restart: 'positions' (and layers), 'layers' or 'none'.
    chunk: The most worlds to run at once.
    programs: The most programs to compile.
    mesh: Devices to spread worlds over.
    workdir: A folder to keep finished worlds in.
    share: Which process this is, of how many that share the folder.
    should_stop: Asked after every chunk.
    progress: Whether to show a progress bar.
  """

  restart: str = 'positions'
  chunk: int | None = None
  programs: int | None = None
  mesh: Mesh | None = None
  workdir: str | os.PathLike | None = None
  share: tuple[int, int] = (0, 1)
  should_stop: Callable[[], bool] = lambda: False
  progress: bool = True

  def __post_init__(self):
    """Refuses a restart that there is not, and processes that cannot share."""
    if self.restart not in RESTARTS:
      raise ValueError(unknown('restart', self.restart, RESTARTS))
    index, count = self.share
    if not 0 <= index < count or (count > 1 and self.workdir is None):
      raise ValueError(
        f'share={self.share} must be the number of a process, from 0, and their count;'
        ' several processes share a sweep through a workdir.'
      )


@dataclasses.dataclass(frozen=True)
class Runner:
  """The base run of some sweeps.

  Attributes:
    model: The model.
    params: Its parameters.
    metric: What to measure.
    options: How to run.
    shapes: Site → shape and dtype of its activation.
    base: The base run.
    value: Its metric.
    at_layers: Whether worlds restart at layers,
    at_positions: and at positions.
  """

  model: Model
  params: Any
  metric: Metric
  options: Options
  shapes: Mapping[str, jax.ShapeDtypeStruct]
  base: restarts.Base
  value: jax.Array
  at_layers: bool
  at_positions: bool

  @property
  def depth(self) -> int:
    """The number of layers."""
    stacked = [a.shape[0] for site, a in self.shapes.items() if SITES[site].layered]
    return stacked[0] if stacked else 1

  @property
  def length(self) -> int:
    """The number of positions."""
    return self.base.tokens.shape[1]

  def run(self, name: str, edits_of: Any, worlds: Any, reach: Reach) -> np.ndarray:
    """The metric in every world.

    Args:
      name: Of the part of the folder that finished worlds are kept in.
      edits_of: World → edits.
      worlds: A pytree of arrays with a leading axis W.
      reach: Where the worlds first change something.

    Returns:
      The metric `[W, ...]`.
    """
    skips = self.options.restart != 'none'
    total, base = len(reach.layers), np.asarray(self.value)
    values = np.broadcast_to(base, (total, *base.shape)).copy()
    live = (reach.positions < self.length) | (not skips)
    inside = (reach.layers >= 0) & self.at_layers
    for part, mine in (('layers', live & inside), ('tokens', live & ~inside)):
      chosen = np.flatnonzero(mine)
      if not len(chosen):
        continue
      some = jax.tree.map(lambda leaf, i=chosen: np.asarray(leaf)[i], worlds)
      values[chosen] = run_worlds(
        self.model,
        self.params,
        self.base.tokens,
        edits_of,
        some,
        self.metric,
        start_layers=reach.layers[chosen] if part == 'layers' else None,
        start_positions=reach.positions[chosen] if self.at_positions else None,
        base=self.base,
        chunk=self.options.chunk,
        programs=self.options.programs,
        mesh=self.options.mesh,
        share=self.options.share,
        journal=self._journal(f'{name}.{part}', edits_of, some),
        should_stop=self.options.should_stop,
        progress=self.options.progress,
      )
    return values

  @functools.cached_property
  def _identity(self) -> dict[str, str]:
    """What all of its sweeps are; found once, as every parameter is read for it."""
    given = {
      'parameters': self.params,
      'tokens': self.base.tokens,
      'arguments': self.base.kwargs,
      'base edits': self.base.edits,
      'metric': self.metric,
    }
    return {'model': named(self.model)} | _fingerprints(given)

  def _journal(self, name: str, edits_of: Any, worlds: Any) -> Journal | None:
    if self.options.workdir is None:
      return None
    identity = self._identity | _fingerprints({'edits': edits_of, 'worlds': worlds})
    return Journal(pathlib.Path(self.options.workdir) / name, identity)


def make_runner(
  model: Model,
  params: Any,
  tokens: Tokens,
  metric: Metric,
  options: Options,
  sites: Iterable[str] = (),
  base_edits: Any = None,
  **kwargs: Any,
) -> Runner:
  """Runs the model on the base input and keeps what worlds will need.

  Args:
    model: The model.
    params: Its parameters.
    tokens: The base input.
    metric: What to measure.
    options: How to run.
    sites: Activations to keep besides.
    base_edits: Edits of the base run, which every world has too.
    **kwargs: Passed to the model: `mask`, `logit_positions`; None is left out.

  Returns:
    The runner.

  Raises:
    ValueError: if the model has no such site.
  """
  tokens, metric = jnp.asarray(tokens), as_pytree(metric)
  kwargs = as_arrays(kwargs)
  logits, shapes = output_shapes(model, params, tokens, **kwargs)
  for site in sites:
    if site not in shapes:
      raise ValueError(unknown('site of this model', site, shapes))
  kept, at_layers, at_positions = kept_sites(
    model, metric, options.restart, logits, shapes, sites
  )
  value, base = base_run(
    model, params, tokens, metric, kept, edits=base_edits, **kwargs
  )
  return Runner(
    model, params, metric, options, shapes, base, value, at_layers, at_positions
  )


def _fingerprints(given: Mapping[str, Any]) -> dict[str, str]:
  return {name: fingerprint(tree) for name, tree in given.items()}


def kept_sites(
  model: Model,
  metric: Metric,
  restart: str,
  logits: Any,
  shapes: Mapping[str, Any],
  sites: Iterable[str],
) -> tuple[set[str], bool, bool]:
  """What to keep of a base run, and whether worlds restart at layers and positions.

  Args:
    model: The model.
    metric: What to measure.
    restart: As in `Options`.
    logits: The shape of the logits.
    shapes: Site → shape of its activation.
    sites: Activations to keep besides.
  """
  kept = set(sites)
  at_layers = restart != 'none' and restarts.restarts_at_layers(model, shapes)
  earlier = restarts.position_sites(model, shapes) if restart == 'positions' else ()
  if at_layers or earlier:
    kept |= {*earlier, *sites_read(metric, logits, shapes)}
  kept |= {'resid_pre'} if at_layers else set()
  return kept, at_layers, bool(earlier)
