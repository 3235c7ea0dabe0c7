"""The quantities that the claim rests on, from trained weights."""

import numpy as np

from interp_jax.findings.finding import Quantity
from interp_jax.findings.superposition import bounds, experiments, measures, recipe
from interp_jax.findings.superposition.bounds import quantity
from interp_jax.findings.superposition.experiments import Found, Settings


def shape_quantities(pentagons: Found, shapes: dict[str, Found]) -> list[Quantity]:
  """Pentagons, and the shapes in three dimensions.

  Args:
    pentagons: trained models `[instances, 2, 5]`.
    shapes: trained models by the shape that is expected.
  """
  W = pentagons['W']
  regular = measures.shape_error(W, 'pentagon') <= bounds.REGULAR
  kept = W[regular]
  gaps = np.abs(measures.angle_gaps(kept) - 72).reshape(-1)
  found = [
    quantity(
      'regular_pentagons',
      'share of models of 5 features in 2 dimensions that are regular pentagons',
      [regular.mean()],
      paper='a pentagon',
      headline=True,
    ),
    quantity(
      'pentagon_dimensionality',
      'dimensions per feature in those pentagons: the worst feature of each',
      _farthest(measures.dimensionality(kept), 0.4),
      paper='2/5',
    ),
    quantity(
      'pentagon_gap_error',
      'largest deviation of an angle in them from 72 degrees',
      [gaps.max(initial=0)],
    ),
  ]
  for shape, models in shapes.items():
    error = measures.shape_error(models['W'], shape)
    features, dims = models['W'].shape[2], models['W'].shape[1]
    found.append(
      quantity(
        f'{shape.removesuffix("s").replace(" ", "_")}_models',
        f'share of models of {features} features in {dims} dimensions that are'
        f' {shape if shape.endswith("s") else f"a {shape}"}',
        [(error <= bounds.REGULAR).mean()],
        paper=shape,
      )
    )
  return found


def sweep_quantities(sweep: Found, linear: Found, config: Settings) -> list[Quantity]:
  """What is represented from dense to sparse, and by the linear control.

  Args:
    sweep: all restarts of the ReLU model, neighbours.
    linear: all restarts of the linear model, neighbours.
    config: of the reproduction.
  """
  best = recipe.best_of(sweep, config.restarts)['W']
  plain = recipe.best_of(linear, config.linear_restarts)['W']
  number = measures.represented(best).sum(-1)
  alone = (measures.dimensionality(best) >= 0.9) & measures.represented(best)
  density = experiments.sweep_densities(config)
  middle = best[
    (density > bounds.PAIRS_DENSITIES[0]) & (density < bounds.PAIRS_DENSITIES[1])
  ]
  shared = [measures.dimensionality(w)[measures.represented(w)] for w in middle]
  return [
    quantity(
      'dense_features',
      'features with a dimension of their own where all are always present',
      [alone[0].sum()],
      paper='2',
    ),
    quantity(
      'middle_features',
      f'features represented at each density from {bounds.PAIRS_DENSITIES[0]} to'
      f' {bounds.PAIRS_DENSITIES[1]}',
      measures.represented(middle).sum(-1),
      paper='4',
    ),
    quantity(
      'middle_dimensionality',
      'dimensions per feature there: the worst of each model',
      [_farthest(d[None], 0.5)[0] for d in shared],
      paper='1/2',
    ),
    quantity(
      'sparse_features',
      'features represented in 2 dimensions where each is present 1 time in 20',
      [number[-1]],
      paper='5',
      headline=True,
    ),
    quantity(
      'linear_features',
      'features represented by the linear model, at each density',
      measures.represented(plain).sum(-1),
      paper='2',
      headline=True,
    ),
  ]


def phase_quantities(cells: Found, config: Settings) -> list[Quantity]:
  """The phase diagram, against closed forms.

  Args:
    cells: the best model of every cell.
    config: of the reproduction.
  """
  phase = measures.phase(cells['W'])
  opposite = measures.antipodal(cells['W'])[phase == 'superpose']
  return [
    quantity(
      'antipodal_share',
      'share of the cells with both features in one dimension where they are opposite',
      [opposite.mean() if len(opposite) else 0.0],
      paper='antipodal',
      headline=True,
    ),
    quantity(
      'phases',
      'phases found: the second feature dropped, dedicated a dimension, superposed',
      [len(set(phase) - {''})],
      paper='3',
    ),
    quantity(
      'phase_agreement',
      'share of cells that are in the phase of least closed-form loss',
      [experiments.agrees(phase, config).mean()],
    ),
  ]


def plateau_quantities(many: Found, config: Settings) -> list[Quantity]:
  """Dimensions per feature of the large model.

  Args:
    many: a trained model for every sparsity.
    config: of the reproduction.
  """
  W, inverse = many['W'], experiments.inverse_densities(config)
  plateau = (inverse > bounds.PAIRS_PLATEAU[0]) & (inverse < bounds.PAIRS_PLATEAU[1])
  low = np.abs(inverse - bounds.TRIANGLES_AT).argmin()
  size = measures.dimensions_per_feature(W)
  return [
    quantity(
      'half_dimensionality',
      f'mean dimensions per feature where 1/(1-S) is from {bounds.PAIRS_PLATEAU[0]} to '
      f'{bounds.PAIRS_PLATEAU[1]}',
      list(map(measures.mean_dimensionality, W[plateau])),
      paper='1/2',
      headline=True,
    ),
    quantity(
      'half_share',
      f'share of the features there that are within {bounds.NEAR} of 1/2',
      measures.share_at(W[plateau], 0.5, bounds.NEAR),
      headline=True,
    ),
    quantity(
      'two_thirds_share',
      f'share of the features within {bounds.TRIANGLES_NEAR} of 2/3 where 1/(1-S) is'
      f' {inverse[low]:.2g}',
      [measures.share_at(W[low], 2 / 3, bounds.TRIANGLES_NEAR)],
      paper='2/3',
    ),
    quantity(
      'dense_dimensions', 'm / |W|^2 where all features are present', [size[0]], '1'
    ),
    quantity('sparse_dimensions', 'm / |W|^2 where 1/(1-S) is 100', [size[-1]]),
  ]


def _farthest(values: np.ndarray, target: float) -> np.ndarray:
  """Of each row the value that is farthest from the target; NaN without rows."""
  if not values.size:
    return np.array([np.nan])
  worst = np.abs(values - target).argmax(-1)
  return np.take_along_axis(values, worst[:, None], 1)[:, 0]
