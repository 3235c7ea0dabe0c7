"""The exact loss of the linear model, held against draws and against a wrong formula.

The paper gives the loss of the linear model as a formula that is often copied with two
mistakes: as if it were that of the ReLU model, and with the densities of *both*
features where the importance of the disturbed and the second moment of the disturbing
one belong. It is far off.
"""

import numpy as np

from interp_jax.tasks import toy_features

ROWS = 400_000


def quoted_loss(W: np.ndarray, density: np.ndarray) -> float:
  """The form that is often quoted, `sum_i p_i (1-G_ii)^2 + sum p_i p_j G_ij^2`.

  Args:
    W: weights, `[m, n]`.
    density: p of each feature, `[n]`.
  """
  gram = W.T @ W
  own = np.diag(gram)
  crossed = gram - np.diag(own)
  return float(density @ (1 - own) ** 2 + density @ crossed**2 @ density)


def linear_losses(seed: int) -> tuple[float, float, float]:
  """The loss of a random linear model: over draws, by our formula, by the quoted one.

  Features differ in density and importance; those that are present are standard normal.

  Args:
    seed: of the model and of the draws.
  """
  rng = np.random.default_rng(seed)
  n, m = 6, 3
  W = rng.standard_normal((m, n)) / np.sqrt(m)
  density, importance = rng.uniform(0.05, 0.4, n), rng.uniform(0.8, 1.2, n)
  present = rng.random((ROWS, n)) < density
  x = np.where(present, rng.standard_normal((ROWS, n)), 0)
  drawn = np.mean(np.square(x - x @ W.T @ W) @ importance)
  # Present features have second moment 1, so v is the density.
  exact = toy_features.linear_loss(W, importance, density)
  return float(drawn), float(exact), quoted_loss(W, density)
