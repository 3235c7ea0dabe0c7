"""Probes without training: from the means of the classes.

The logit of a class is linear in the activation x, with the mean m of the class:

    x @ P @ m - m @ P @ m / 2

With P the identity, a row is given to the nearest mean, and the contrast of two classes
reads along the difference of their means: the mass-mean probe of Marks & Tegmark 2023,
arXiv:2310.06824. With P the inverse of the covariance within classes, and the logarithm
of the class's share added, it is Fisher's linear discriminant, the best there is where
classes are normal with one covariance (their probe for rows like the training rows).
Means need fewer rows than trained weights do, and have no learning rate.
"""

from collections.abc import Iterator
import time
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Integer
import numpy as np

from interp_jax.probes.data import Data, Features, check_data, parts, standardization
from interp_jax.probes.probe import Probes
from interp_jax.probes.scores import score
from interp_jax.probes.train import ProbeResult


def mean_probes(
  features: Features,
  labels: Integer[Array | np.ndarray, 'N Q'],
  *,
  groups: Integer[Array | np.ndarray, ' N'],
  whiten: bool = False,
  ridge: float = 1e-4,
  held_out: float = 0.2,
  classes: int | None = None,
  seed: int = 0,
) -> ProbeResult:
  """Linear probes from the means of the classes.

  Without `whiten`, logits say which mean is nearest but are no log-probabilities, so
  that cross-entropies mean little.

  Args:
    features: As in `train_probes`.
    labels: As in `train_probes`; each question needs training rows of every class.
    groups: As in `train_probes`.
    whiten: Whether to take the covariance within classes into account.
    ridge: What is added to the covariance's diagonal, as a share of its mean.
    held_out: The fraction of groups to score on, and not to measure.
    classes: As in `train_probes`.
    seed: Of the split, which is that of `train_probes` for the same seed and fraction.

  Returns:
    The probes with their scores on the held-out rows.

  Raises:
    ValueError: as `train_probes`, and if a question has no training row of some class.
  """
  started = time.monotonic()
  data = check_data(features, labels, groups, classes, held_out, seed)
  counts = data.counts(data.train)
  if (counts == 0).any():
    raise ValueError(
      f'Questions {np.flatnonzero((counts == 0).any(-1)).tolist()} have no training '
      f'row of some of the {data.classes} classes, and nothing has no mean. Put '
      'questions with other classes into calls of their own, or train linear probes.'
    )
  center, _ = standardization(data)
  means = _class_means(data, center, counts)
  weights, shares = means, np.zeros(counts.shape)
  if whiten:
    weights = _whitened(data, center, means, counts, ridge)
    shares = np.log(counts / counts.sum(-1, keepdims=True))
  b_out = shares - np.einsum('lqcd,lqcd->lqc', weights, means) / 2
  arrays = (np.moveaxis(weights, -1, 1), b_out, center, np.ones(center.shape))
  W_out, b_out, mean, scale = (jnp.asarray(array, data.dtype) for array in arrays)
  probes = Probes({'W_out': W_out, 'b_out': b_out}, mean, scale)
  scores = score(probes, data)
  return ProbeResult(probes, scores, data.held_out, True, time.monotonic() - started)


def _centered(
  data: Data, center: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Training rows `[L, n, D]` in float64, less their mean, and labels `[n, Q]`."""
  for rows in parts(data.train, 4096):
    yield data.gather(rows) - center[:, None], data.labels[rows]


def _class_means(data: Data, center: np.ndarray, counts: np.ndarray) -> np.ndarray:
  """The means of the centered rows of each class, `[L, Q, C, D]`."""
  total = np.zeros((len(center), *counts.shape, data.width))
  for x, labels in _centered(data, center):
    member = labels[..., None] == np.arange(data.classes)
    total += np.einsum('nqc,lnd->lqcd', member, x, optimize=True)
  return total / counts[..., None]


def _whitened(
  data: Data, center: np.ndarray, means: np.ndarray, counts: np.ndarray, ridge: float
) -> np.ndarray:
  """The means times the inverse of the covariance within classes, `[L, Q, C, D]`."""
  every, missing = _second_moments(data, center, len(counts))
  weights = np.zeros_like(means)
  for question, count in enumerate(counts):
    mine = means[:, question]
    within = every - missing[question]
    within = within - np.einsum('c,lcd,lce->lde', count, mine, mine)
    covariance = within / count.sum()
    size = np.trace(covariance, axis1=1, axis2=2) / data.width
    covariance += (ridge * size)[:, None, None] * np.eye(data.width)
    solved = np.linalg.solve(covariance, mine.swapaxes(1, 2))
    weights[:, question] = solved.swapaxes(1, 2)
  return weights


def _second_moments(data: Data, center: np.ndarray, questions: int) -> tuple[Any, Any]:
  """Sums of x x^T over all training rows, `[L, D, D]`, and over those without a label.

  Most rows have labels for all questions, and are multiplied once.
  """
  every = np.zeros((len(center), data.width, data.width))
  missing: list[Any] = [0.0] * questions
  product = lambda x: np.stack([layer.T @ layer for layer in x])
  for x, labels in _centered(data, center):
    every += product(x)
    for question in np.flatnonzero((labels < 0).any(0)):
      missing[question] = missing[question] + product(x[:, labels[:, question] < 0])
  return every, missing
