"""What could have fooled us: exact losses against draws, and untrained weights."""

import numpy as np

from interp_jax.findings.finding import Quantity
from interp_jax.findings.superposition import bounds, experiments, measures, recipe
from interp_jax.findings.superposition.bounds import quantity
from interp_jax.findings.superposition.experiments import Found, Settings
from interp_jax.findings.superposition.losses import linear_losses


def loss_quantities(
  pentagons: Found, cells: Found, seeds: list[int], config: Settings
) -> list[Quantity]:
  """Exact losses against draws.

  Args:
    pentagons: trained models of uniform importance at density 1/20.
    cells: of the phase diagram.
    seeds: of the models and the draws.
    config: of the reproduction.
  """
  drawn, exact, quoted = np.array([linear_losses(seed) for seed in seeds]).T
  density, importance = (axis.reshape(-1) for axis in experiments.phase_axes(config))
  middle = len(density) // 2
  trained = [
    (pentagons, 0, 0.05, np.ones(config.plane.features)),
    (cells, middle, density[middle], np.array([1, importance[middle]])),
  ]
  errors = [
    models['loss'][at]
    / recipe.monte_carlo(models['W'][at], models['b'][at], p, weights, seeds[0])
    - 1
    for models, at, p, weights in trained
  ]
  return [
    quantity(
      'linear_loss_error',
      'exact loss of the linear model against draws, relative',
      np.abs(exact / drawn - 1),
      headline=True,
    ),
    quantity(
      'quoted_loss_ratio',
      'the often quoted formula against draws, over all these models',
      [quoted.sum() / drawn.sum()],
    ),
    quantity(
      'quadrature_error',
      'loss that was trained on against 64 million draws, relative',
      np.abs(errors),
    ),
  ]


def control_quantities(seed: int) -> list[Quantity]:
  """The same measures of weights that were not trained.

  Args:
    seed: of the weights.
  """
  rng = np.random.default_rng(seed)
  pentagons = rng.standard_normal((1000, 2, 5))
  pairs = rng.standard_normal((1000, 1, 2))
  large = rng.standard_normal((20, 20, 40))
  # Orthonormal rows: a tight frame, whose mean dimensionality is 20/40 whatever it is.
  frames = np.swapaxes(np.linalg.qr(np.swapaxes(large, 1, 2))[0], 1, 2)
  pairs = pairs / np.linalg.norm(pairs, axis=-1, keepdims=True)
  return [
    quantity(
      'irregular_frame_error',
      'distance from a pentagon of an irregular frame with 2/5 for every feature',
      [measures.shape_error(measures.irregular_frame(), 'pentagon')],
    ),
    quantity(
      'random_pentagons',
      'share of random weights that are pentagons',
      [(measures.shape_error(pentagons, 'pentagon') <= bounds.REGULAR).mean()],
    ),
    quantity(
      'random_antipodal_share',
      'share of random pairs that are opposite',
      [measures.antipodal(pairs).mean()],
    ),
    quantity(
      'random_half_share',
      f'share of features within {bounds.NEAR} of 1/2 in random weights',
      [_share(large)],
    ),
    quantity(
      'tight_frame_half_share',
      'the same in random frames whose mean is exactly 1/2',
      [_share(frames)],
    ),
    quantity(
      'tight_frame_mean',
      'the mean that tells them from nothing',
      [measures.dimensionality(frames).mean()],
    ),
  ]


def _share(W: np.ndarray) -> float:
  return float((np.abs(measures.dimensionality(W) - 0.5) <= bounds.NEAR).mean())
