"""Sparse features, and the toy model that has to squeeze them through few dimensions.

The model of Elhage et al. (2022, "Toy Models of Superposition") is asked to give back
its input x of n features through m < n dimensions:

    x' = ReLU(W^T W x + b),    L = sum_i I_i E[(x_i - x'_i)^2]

A feature is 0 but with probability p, its density (1 - S, where S is the sparsity), and
then uniform on [0, 1]; I_i is its importance. Everything here is a plain function of
arrays, so that many models are one `vmap`.

The expectation can be taken over draws (`sparse_features`), or exactly up to the kinks
of the ReLU: a `Quadrature` lists which features are present and where they are, with
the probability of each, so that the loss has no noise. It does for up to some eight
features. Its rows are the same for every density; only their weights differ.
"""

from collections.abc import Sequence
import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
import numpy as np

Scalar = Float[Array | np.ndarray, ''] | float
Points = Float[Array | np.ndarray, '*points'] | float
Weights = Float[Array | np.ndarray, 'm n']
Features = Float[Array | np.ndarray, 'B n']
PerFeature = Float[Array | np.ndarray, 'n']


def sparse_features(
  key: Key[Array, ''], batch: int, features: int, density: Scalar
) -> Float[Array, 'B n']:
  """Draws inputs. The same key gives nested ones: raising the density adds features.

  Args:
    key: of the draw.
    batch: rows.
    features: n.
    density: the probability that a feature is present, in (0, 1].
  """
  u = jax.random.uniform(key, (batch, features))
  # One number decides both: below the density it is uniform there.
  return jnp.where(u < density, u / density, 0.0)


def moments(density: Points) -> tuple[Any, Any]:
  """A feature's mean `p / 2` and its second moment `p / 3`.

  Args:
    density: p, the probability that it is present.
  """
  return density / 2, density / 3


@dataclasses.dataclass(frozen=True)
class Quadrature:
  """Rows that stand for all inputs.

  Attributes:
    x: `[N, n]`, the rows.
    active: `[N]`, how many features of each are present.
    volume: `[N]`, how much of the cube of the features that are present each row stands
      for; 1 in sum for every set of features.
  """

  x: Float[np.ndarray, 'N n']
  active: Int[np.ndarray, 'N']
  volume: Float[np.ndarray, 'N']

  def weights(self, density: Scalar) -> Float[Array | np.ndarray, 'N']:
    """The probability of each row: 1 in sum, less what was left out.

    Args:
      density: p, the probability that a feature is present.
    """
    absent = self.x.shape[1] - self.active
    return self.volume * density**self.active * (1 - density) ** absent


def quadrature(features: int, nodes: Sequence[int]) -> Quadrature:
  """Gauss-Legendre nodes on the cube of every set of features that may be present.

  Polynomials up to degree `2 * nodes - 1` are integrated exactly, so the loss of a
  linear model is from 2 nodes on. No feature is treated unlike another.

  Args:
    features: n.
    nodes: how many per dimension where 1, 2, ... features are present. Sets of more
      features than it has entries are left out.

  Raises:
    ValueError: if it has more entries than there are features, or one below 1.
  """
  if len(nodes) > features or min(nodes, default=1) < 1:
    raise ValueError(
      f'nodes={tuple(nodes)} for {features} features: give at most {features} numbers,'
      ' each at least 1.'
    )
  rows, active, volume = [np.zeros((1, features))], [0], [1.0]
  for size, count in enumerate(nodes, 1):
    at, weight = np.polynomial.legendre.leggauss(count)
    cube = np.array(list(itertools.product((at + 1) / 2, repeat=size)))
    shares = np.prod(list(itertools.product(weight / 2, repeat=size)), 1)
    for present in itertools.combinations(range(features), size):
      block = np.zeros((len(cube), features))
      block[:, present] = cube
      rows.append(block)
      active += [size] * len(cube)
      volume += shares.tolist()
  return Quadrature(
    np.concatenate(rows).astype(np.float32),
    np.array(active),
    np.array(volume, np.float32),
  )


def reconstruct(
  W: Weights, b: PerFeature, x: Features, slope: Scalar = 0.0
) -> Float[Array | np.ndarray, 'B n']:
  """The model: `ReLU(W^T W x + b)`.

  Args:
    W: its weights; column i is the direction of feature i.
    b: its biases.
    x: inputs.
    slope: of the activation below 0: 0 for a ReLU, 1 for the linear model.
  """
  z = x @ W.T @ W + b
  return jnp.maximum(z, slope * z)


def reconstruction_loss(
  W: Weights,
  b: PerFeature,
  x: Features,
  importance: PerFeature,
  weights: Float[Array | np.ndarray, 'B'] | None = None,
  slope: Scalar = 0.0,
) -> Scalar:
  """The squared error, summed over features by importance and averaged over rows.

  Args:
    W: the model's weights.
    b: its biases.
    x: inputs.
    importance: of each feature.
    weights: the probability of each row; by default all are equal.
    slope: as in `reconstruct`.
  """
  errors = jnp.square(x - reconstruct(W, b, x, slope)) @ importance
  return errors.mean() if weights is None else weights @ errors


def linear_loss(W: Weights, importance: PerFeature, second: PerFeature) -> Scalar:
  """The exact loss of the linear model `W^T W x` for independent inputs of mean 0.

      sum_i I_i [ v_i (1 - G_ii)^2 + sum_{j != i} v_j G_ij^2 ],    G = W^T W

  A feature pays for its own loss, and for the noise that the others put into *its*
  output: I of the one that is disturbed, v of the one that disturbs. With the best bias
  `(1 - G) mean` the same holds for inputs of any mean, v being their variances.

  Args:
    W: the model's weights.
    importance: I, of each feature.
    second: v, the second moment of each feature.
  """
  G = W.T @ W
  missing = (np.eye(len(G)) - G) ** 2  # The diagonal: 1 - G_ii; else: G_ij.
  return importance @ (missing @ second)


def pair_losses(density: Points, importance: Points) -> dict[str, Any]:
  """Closed-form losses of the three ways to put two features into one dimension.

  The first feature has importance 1 and the other r. `drop` is W = (1, 0), `dedicate`
  is W = (0, 1); what is not represented costs its variance `p / 3 - p^2 / 4`.
  `superpose` is W = (1, -1), b = 0, which errs only where both are present, by the
  smaller of them: `p^2 (1 + r) / 6`.

  Args:
    density: p, of both features.
    importance: r, of the second one, of the same shape.
  """
  mean, second = moments(density)
  variance = second - mean**2
  return {
    'drop': importance * variance,
    'dedicate': variance,
    'superpose': density**2 * (1 + importance) / 6,
  }
