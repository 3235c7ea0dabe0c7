"""How alike two sets of directions are: other seeds, or a planted dictionary."""

from jaxtyping import Array, Float
import numpy as np


def cosines(
  A: Float[Array | np.ndarray, 'F D'], B: Float[Array | np.ndarray, 'G D']
) -> Float[np.ndarray, 'F G']:
  """The cosine of each row of A with each row of B; 0 for rows of zeros."""

  def unit(rows: Array | np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)

  return unit(A) @ unit(B).T


def matched_cosine(
  A: Float[Array | np.ndarray, 'F D'], B: Float[Array | np.ndarray, 'G D']
) -> float:
  """MCC: the mean |cosine| of the best one-to-one matching of rows.

  `min(F, G)` pairs are matched (Hungarian algorithm), so that two rows cannot claim
  the same partner: a duplicate counts for nothing.

  Args:
    A: Directions.
    B: Other directions.

  Returns:
    The mean over the matched pairs.
  """
  from scipy.optimize import linear_sum_assignment

  similarity = np.abs(cosines(A, B))
  pairs = linear_sum_assignment(similarity, maximize=True)
  return float(similarity[pairs].mean())


def max_cosine(
  truth: Float[Array | np.ndarray, 'F D'], learned: Float[Array | np.ndarray, 'G D']
) -> float:
  """MMCS: the mean over true directions of the largest cosine with a learned one.

  From truth to learned (Sharkey et al. 2022): the other way round, dead and duplicate
  features would raise it.

  Args:
    truth: The directions to be found.
    learned: The decoder's rows.

  Returns:
    The mean.
  """
  return float(cosines(truth, learned).max(1).mean())
