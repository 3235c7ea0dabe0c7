"""What is measured of trained weights, and of any others: nothing here trains.

Weights are `[..., m, n]`: column i is the direction W_i in which feature i is stored.
Everything is numpy in float64, over any leading axes.
"""

from collections.abc import Mapping
import math

from jaxtyping import Bool, Float
import numpy as np

Weights = Float[np.ndarray, '*worlds m n']
PerFeature = Float[np.ndarray, '*worlds n']

# Length of W_i from which feature i counts as represented. Trained features have a
# length near 1 or near 0; the few between are those that a phase boundary crosses.
REPRESENTED = 0.5

# The cosines of a feature with the others, in rising order, in the shapes in which the
# paper finds features. In the plane they determine the shape.
_ANTIPRISM_HEIGHT = 0.2612  # Squared: of 8 points at their largest least distance.
SHAPES: Mapping[str, tuple[float, ...]] = {
  'pentagon': (
    *[math.cos(math.radians(144))] * 2,
    *[math.cos(math.radians(72))] * 2,
  ),
  'antipodal pairs': (-1.0, 0.0, 0.0, 0.0, 0.0),
  'square antiprism': (
    *[-_ANTIPRISM_HEIGHT - (1 - _ANTIPRISM_HEIGHT) * math.sqrt(0.5)] * 2,
    2 * _ANTIPRISM_HEIGHT - 1,
    *[_ANTIPRISM_HEIGHT] * 4,
  ),
}


def norms(W: Weights) -> PerFeature:
  """The length of each W_i."""
  return np.linalg.norm(np.asarray(W, np.float64), axis=-2)


def represented(W: Weights) -> Bool[np.ndarray, '*worlds n']:
  """Which features are represented at all."""
  return norms(W) >= REPRESENTED


def directions(W: Weights) -> Weights:
  """The W_i at unit length; zeros stay zeros."""
  length = norms(W)[..., None, :]
  return np.divide(W, length, out=np.zeros(W.shape), where=length > 0)


def dimensionality(W: Weights) -> PerFeature:
  """D_i, the fraction of a dimension that each feature has.

      D_i = |W_i|^2 / sum_j (W_i/|W_i| . W_j)^2

  1 for a feature that is orthogonal to all others, 1/2 for one of an antipodal pair.
  """
  W = np.asarray(W, np.float64)
  shared = np.square(np.swapaxes(directions(W), -1, -2) @ W).sum(-1)
  return np.divide(norms(W) ** 2, shared, out=np.zeros(shared.shape), where=shared > 0)


def mean_dimensionality(W: Float[np.ndarray, 'm n']) -> float:
  """The mean of D_i over the features that are represented; NaN where none is."""
  there = represented(W)
  return float(dimensionality(W)[there].mean()) if there.any() else math.nan


def dimensions_per_feature(W: Weights) -> Float[np.ndarray, '*worlds']:
  """D*, the paper's `m / |W|_F^2`."""
  return np.asarray(W.shape[-2] / np.square(norms(W)).sum(-1))


def angle_gaps(W: Float[np.ndarray, '*worlds 2 n']) -> PerFeature:
  """The angles between neighbours in the plane, in degrees, going round."""
  angles = np.sort(np.degrees(np.arctan2(W[..., 1, :], W[..., 0, :])), -1)
  return np.diff(angles, axis=-1, append=angles[..., :1] + 360)


def cosines(W: Weights) -> Float[np.ndarray, '*worlds n n-1']:
  """The cosines of each W_i with the others, in rising order."""
  u = directions(np.asarray(W, np.float64))
  gram = np.sort(np.swapaxes(u, -1, -2) @ u, -1)
  return gram[..., :-1]  # The largest is that with itself.


def shape_error(W: Weights, shape: str) -> Float[np.ndarray, '*worlds']:
  """How far the worst cosine is from what it is in a regular shape.

  Args:
    W: the weights.
    shape: a name in `SHAPES`.
  """
  return np.asarray(np.abs(cosines(W) - np.array(SHAPES[shape])).max((-1, -2)))


def share_at(W: Weights, value: float, within: float) -> Float[np.ndarray, '*worlds']:
  """The share of the represented features whose dimensionality is near a value.

  The mean over features says nothing about geometry: it is m/n for whatever uses all
  dimensions. That nearly every single one is at the same fraction does.

  Args:
    W: the weights.
    value: such as 1/2.
    within: how near.
  """
  there = represented(W)
  near = there & (np.abs(dimensionality(W) - value) <= within)
  return np.asarray(near.sum(-1) / np.maximum(there.sum(-1), 1))


PHASES = ('drop', 'dedicate', 'superpose')


def phase(W: Float[np.ndarray, '*worlds 1 2']) -> np.ndarray:
  """Which of `PHASES` two features in one dimension are in; '' if neither is there."""
  first, second = np.moveaxis(represented(W), -1, 0)
  phases = np.where(first & second, 'superpose', np.where(first, 'drop', 'dedicate'))
  return np.where(first | second, phases, '')


def antipodal(
  W: Float[np.ndarray, '*worlds 1 2'], alike: float = 0.6
) -> Bool[np.ndarray, '*worlds']:
  """Whether two features share a dimension as opposites of similar length.

  Args:
    W: the weights.
    alike: the least ratio of the shorter to the longer. It is 0.67 at the edge of the
      phase, where one feature matters ten times as much, and near 1 inside it.
  """
  length = norms(W)
  opposite = np.prod(np.asarray(W)[..., 0, :], -1) < 0
  return np.asarray(opposite & (length.min(-1) >= alike * length.max(-1)))


def irregular_frame() -> Float[np.ndarray, '2 5']:
  """Five unit vectors with D_i = 2/5 each that are no pentagon.

  Unit vectors are a tight frame of the plane, which is what `D_i = m / n` says, if the
  vectors at twice their angles add up to 0: here a triangle's do, and a pair's.
  """
  angles = np.radians([0, 120, 240, 30, 210]) / 2
  return np.stack([np.cos(angles), np.sin(angles)])
