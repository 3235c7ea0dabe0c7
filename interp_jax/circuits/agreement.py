"""How well estimated effects agree with measured ones."""

import dataclasses
from typing import Any

import numpy as np

from interp_jax.circuits.edges import EdgeScores


@dataclasses.dataclass(frozen=True)
class Agreement:
  """Estimates against exact effects.

  Attributes:
    count: How many effects were compared.
    pearson: Correlation of the values.
    spearman: Correlation of their ranks; ties share their mean rank.
    k: How many of the largest (in absolute value) are compared below.
    top_overlap: Share of the k largest exact effects that are among the k largest
      estimates.
    top_sign: Share of the k largest exact effects whose estimates have their sign.
  """

  count: int
  pearson: float
  spearman: float
  k: int
  top_overlap: float
  top_sign: float

  def __str__(self) -> str:
    return (
      f'{self.count} effects: Pearson {self.pearson:.3f}, Spearman '
      f'{self.spearman:.3f}; of the {self.k} largest, {self.top_overlap:.0%} found and '
      f'{self.top_sign:.0%} of right sign'
    )


def agreement(estimate: Any, exact: Any, k: int = 20) -> Agreement:
  """Compares estimated effects with exact ones.

  Args:
    estimate: `EdgeScores`, or an array.
    exact: The same of exact effects: of `edge_patching`, of a sweep less its base.
    k: How many of the largest effects to look at; all, if there are fewer.

  Returns:
    The comparison. Correlations are NaN where one side does not vary.

  Raises:
    ValueError: if they are not effects of the same things, or there are fewer than two.
  """
  one, two = _flat(estimate), _flat(exact)
  if one.shape != two.shape or one.size < 2:
    raise ValueError(
      f'agreement compares two or more effects of the same things; got {one.size} and '
      f'{two.size}.'
    )
  k = min(k, one.size)
  top = np.argsort(-np.abs(two), kind='stable')[:k]
  found = np.argsort(-np.abs(one), kind='stable')[:k]
  return Agreement(
    count=one.size,
    pearson=_correlation(one, two),
    spearman=_correlation(mean_ranks(one), mean_ranks(two)),
    k=k,
    top_overlap=len(np.intersect1d(top, found)) / k,
    top_sign=float(np.mean(np.sign(one[top]) == np.sign(two[top]))),
  )


def mean_ranks(values: np.ndarray) -> np.ndarray:
  """Ranks from 0; equal values share the mean of theirs."""
  _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
  last = np.cumsum(counts) - 1
  return (last - (counts - 1) / 2)[inverse]


def _flat(effects: Any) -> np.ndarray:
  values = effects.flat if isinstance(effects, EdgeScores) else np.ravel(effects)
  return np.asarray(values, float)


def _correlation(one: np.ndarray, two: np.ndarray) -> float:
  one, two = one - one.mean(), two - two.mean()
  size = np.sqrt((one @ one) * (two @ two))
  return float(one @ two / size) if size > 0 else float('nan')
