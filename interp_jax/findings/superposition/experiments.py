"""The experiments: which worlds are trained, and what comes out of them, as arrays."""

import dataclasses
from typing import Any

import jax
import numpy as np

from interp_jax.findings.run import Run
from interp_jax.findings.superposition import recipe
from interp_jax.findings.superposition.recipe import Size
from interp_jax.tasks import toy_features

Found = dict[str, np.ndarray]

PLANE = Size(5, 2, nodes=(8, 6, 4, 3, 3))
PAIRS = Size(6, 3, nodes=(8, 6, 4))
ANTIPRISM = Size(8, 3, nodes=(8, 6, 4))
LINE = Size(2, 1, nodes=(16, 12), steps=400)
MANY = Size(200, 20, steps=3000, learning_rate=0.02, batch=512)


@dataclasses.dataclass(frozen=True)
class Settings:
  """Of the whole reproduction.

  Attributes:
    instances: how many of each shape are trained.
    restarts: of each point of the sweep; the best is kept.
    linear_restarts: the same for the linear control; one in thirty stays at a saddle.
    phase_restarts: of each cell of the phase diagram; the best is kept.
    densities: points of the sweep, from 1 to 1/20.
    grid: points of the phase diagram along each axis.
    sparsities: points of the dimensionality curve, `1/(1-S)` from 1 to 100.
    plane: five features in two dimensions: pentagons, the sweep, the linear control.
    pairs: six features in three dimensions.
    antiprism: eight features in three dimensions.
    line: two features in one dimension: the phase diagram.
    many: a model large enough to choose its geometry.
  """

  instances: int = 20
  restarts: int = 16
  linear_restarts: int = 3
  phase_restarts: int = 16
  densities: int = 10
  grid: int = 9
  sparsities: int = 12
  plane: Size = PLANE
  pairs: Size = PAIRS
  antiprism: Size = ANTIPRISM
  line: Size = LINE
  many: Size = MANY


def settings(quick: bool) -> Settings:
  """The settings; the quick ones train fewer models, and the large one for less long.

  Args:
    quick: whether a look is enough.
  """
  if not quick:
    return Settings()
  return Settings(
    instances=10,
    restarts=6,
    densities=6,
    sparsities=6,
    many=dataclasses.replace(MANY, steps=1500, learning_rate=0.03, batch=256),
  )


def plane(run: Run, config: Settings) -> dict[str, Found]:
  """Pentagons, the sweep over densities, and the same sweep of the linear model.

  Returns:
    `pentagons` `[instances, ...]`, and the restarts of every density side by side in
    `sweep` `[densities * restarts, ...]` and `linear`.
  """
  size, densities = config.plane, sweep_densities(config)
  falling = 0.9 ** np.arange(size.features)
  seeds = run.seeds('plane', 4)
  worlds = {
    'pentagons': recipe.make_worlds(
      size, np.full(config.instances, 0.05), np.ones(size.features), seeds[0]
    ),
    'sweep': recipe.make_worlds(
      size, np.repeat(densities, config.restarts), falling, seeds[1]
    ),
    'linear': recipe.make_worlds(
      size, np.repeat(densities, config.linear_restarts), falling, seeds[2], slope=1.0
    ),
  }
  return _train_together(run, 'plane', size, worlds, seeds[3])


def shapes(run: Run, config: Settings) -> dict[str, Found]:
  """Models in three dimensions, by the name of the shape that is expected."""
  asked = {
    'antipodal pairs': (config.pairs, 0.05),
    'square antiprism': (config.antiprism, 0.02),
  }
  found = {}
  for shape, (size, density) in asked.items():
    weights, draws = run.seeds(shape, 2)
    worlds = recipe.make_worlds(
      size, np.full(config.instances, density), np.ones(size.features), weights
    )
    found[shape] = recipe.train(run, shape.replace(' ', '_'), size, worlds, draws)
  return found


def phase_diagram(run: Run, config: Settings) -> Found:
  """The best model of every cell, `[importance * density, ...]`."""
  density, importance = (axis.reshape(-1) for axis in phase_axes(config))
  asked = np.stack([np.ones_like(importance), importance], 1)
  weights, draws = run.seeds('phase', 2)
  restarts = config.phase_restarts
  worlds = recipe.make_worlds(
    config.line, np.repeat(density, restarts), np.repeat(asked, restarts, 0), weights
  )
  found = recipe.train(run, 'phase', config.line, worlds, draws)
  return recipe.best_of(found, restarts)


def many(run: Run, config: Settings) -> Found:
  """A large model at every sparsity, `[sparsities, ...]`."""
  weights, draws = run.seeds('many', 2)
  importance = np.ones(config.many.features)
  worlds = recipe.make_worlds(
    config.many, 1 / inverse_densities(config), importance, weights
  )
  return recipe.train(run, 'many', config.many, worlds, draws)


def sweep_densities(config: Settings) -> np.ndarray:
  """From dense to sparse, `[densities]`."""
  return 20.0 ** -np.linspace(0, 1, config.densities)


def phase_axes(config: Settings) -> tuple[np.ndarray, np.ndarray]:
  """Density and importance of the second feature at every cell, `[grid, grid]` each."""
  density = 10.0 ** np.linspace(-2, 0, config.grid)
  importance = 10.0 ** np.linspace(-1, 1, config.grid)
  across, up = np.meshgrid(density, importance)
  return across, up


def inverse_densities(config: Settings) -> np.ndarray:
  """`1 / (1 - S)`, the horizontal axis of the paper's figure, `[sparsities]`."""
  return np.geomspace(1, 100, config.sparsities)


def _train_together(
  run: Run, name: str, size: Size, groups: dict[str, Any], seed: int
) -> dict[str, Found]:
  """Trains groups of worlds of one size as one program."""
  together = jax.tree.map(lambda *leaves: np.concatenate(leaves), *groups.values())
  found = recipe.train(run, name, size, together, seed)
  ends = np.cumsum([len(group['b']) for group in groups.values()])[:-1]
  parts = {key: np.split(leaf, ends) for key, leaf in found.items()}
  return {
    group: {key: split[index] for key, split in parts.items()}
    for index, group in enumerate(groups)
  }


def agrees(phase: np.ndarray, config: Settings) -> np.ndarray:
  """Whether each cell's phase is one of least closed-form loss, ties within 1 %.

  Args:
    phase: names of the phases, `[cells]`.
    config: of the reproduction.
  """
  density, importance = (axis.reshape(-1) for axis in phase_axes(config))
  losses = toy_features.pair_losses(density, importance)
  least = np.minimum.reduce(list(losses.values()))
  own = np.select([phase == name for name in losses], list(losses.values()), np.inf)
  return own <= 1.01 * least
