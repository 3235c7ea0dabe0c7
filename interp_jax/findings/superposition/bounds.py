"""What the results must be: every bound, in one table, and where it is looked at."""

from typing import Any

import numpy as np

from interp_jax.findings.finding import Quantity

# A shape is regular if no cosine is further than this from its own: 2 degrees.
REGULAR = 0.03
# How near to a fraction a dimensionality must be to be at it.
NEAR = 0.02
# Densities at which five features of falling importance are stored as two pairs.
PAIRS_DENSITIES = (0.18, 0.4)
# Where `1/(1-S)` is between these, features of a large model are antipodal pairs.
PAIRS_PLATEAU = (2.2, 3.8)
# And about here they are triangles.
TRIANGLES_AT, TRIANGLES_NEAR = 1.5, 0.05

# name: (at least, at most), and the worst value of one full run (seed 1).
BOUNDS: dict[str, tuple[float | None, float | None]] = {
  'regular_pentagons': (0.9, None),  # 1.0
  'pentagon_dimensionality': (0.39, 0.41),  # 0.400
  'irregular_frame_error': (0.1, None),  # 1.31, by construction
  'random_pentagons': (None, 0.01),  # 0.0
  'antipodal_pair_models': (0.9, None),  # 1.0
  # Of 300 models 0.967 are; of 20, sometimes 18.
  'square_antiprism_models': (0.8, None),  # 1.0
  'dense_features': (2.0, 2.0),  # 2
  'middle_features': (4.0, 4.0),  # 4
  'middle_dimensionality': (0.42, 0.58),  # 0.475
  'sparse_features': (5.0, 5.0),  # 5
  'linear_features': (2.0, 2.0),  # 2
  'antipodal_share': (0.95, None),  # 1.0
  'phases': (3.0, 3.0),  # 3
  'phase_agreement': (0.9, None),  # 0.975
  'random_antipodal_share': (None, 0.5),  # 0.15
  'half_dimensionality': (0.5 - NEAR, 0.5 + NEAR),  # 0.4997
  'half_share': (0.9, None),  # 1.0
  'two_thirds_share': (0.5, None),  # 0.90
  'dense_dimensions': (0.97, 1.03),  # 1.000
  'sparse_dimensions': (None, 0.1),  # 0.066
  'random_half_share': (None, 0.1),  # 0.028
  'tight_frame_half_share': (None, 0.5),  # 0.16
  'linear_loss_error': (None, 0.02),  # 0.0034
  'quoted_loss_ratio': (None, 0.8),  # 0.43
  'quadrature_error': (None, 0.02),  # 0.0073
}

# Which of them are negative controls.
CONTROLS = {
  'irregular_frame_error',
  'random_pentagons',
  'linear_features',
  'random_antipodal_share',
  'random_half_share',
  'tight_frame_half_share',
  'quoted_loss_ratio',
}


def quantity(
  name: str, meaning: str, values: Any, paper: str = '', headline: bool = False
) -> Quantity:
  """A quantity with its bounds from the table; without bounds it is only reported.

  Args:
    name: of the quantity.
    meaning: one line.
    values: numbers of any shape.
    paper: the published number.
    headline: whether it tells the story.
  """
  low, high = BOUNDS.get(name, (None, None))
  return Quantity(
    name,
    meaning,
    tuple(np.ravel(values)),
    at_least=low,
    at_most=high,
    control=name in CONTROLS,
    paper=paper,
    headline=headline,
  )
