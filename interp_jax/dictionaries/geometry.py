"""How alike two sets of directions are: other seeds, or a planted dictionary.

With u the rows of one set and v those of the other, both of unit length:

    matched_cosine   MCC: mean |u.v| over the best one-to-one matching
    max_cosine       MMCS: mean over truths of the largest u.v with a learned row
    uniqueness       #{truths that are some row's largest |u.v|} / #rows
    found_fraction   share of truths with a learned row at u.v > 0.9

`neighbours` looks at them in blocks, so that no `[F, F]` array is made.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

# Of a truth that counts as found, and of two features that count as the same.
ALIKE = 0.9

Directions = Float[Array | np.ndarray, 'F D']
Others = Float[Array | np.ndarray, 'G D']


def cosines(A: Directions, B: Others) -> Float[np.ndarray, 'F G']:
  """The cosine of each row of A with each row of B; 0 for rows of zeros."""

  def unit(rows: Array | np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)

  return unit(A) @ unit(B).T


@dataclasses.dataclass(frozen=True)
class Neighbours:
  """The nearest of other directions, for each direction.

  Attributes:
    indices: `[F, n]`, which, nearest first.
    cosines: `[F, n]`, their cosines (or sizes of them).
  """

  indices: Int[np.ndarray, 'F n']
  cosines: Float[np.ndarray, 'F n']

  def to_dict(self) -> dict[str, float]:
    """Of the nearest ones: mean and largest cosine, and the share above `ALIKE`."""
    nearest = self.cosines[:, 0]
    return {
      'mean_nearest_cosine': float(nearest.mean()),
      'largest_cosine': float(nearest.max()),
      'alike_fraction': float(np.mean(nearest > ALIKE)),
    }


@functools.partial(jax.jit, static_argnames=('n', 'absolute', 'themselves'))
def _nearest(
  A: Array, B: Array, start: Array, n: int, absolute: bool, themselves: bool
) -> tuple[Array, Array]:
  """The n largest cosines of unit rows A, which are rows `start...` of B if asked."""
  # In float32 throughout: accelerators would round the factors to fewer bits.
  similar = jnp.einsum('fd,gd->fg', A, B, precision=jax.lax.Precision.HIGHEST)
  similar = jnp.abs(similar) if absolute else similar
  if themselves:
    own = jnp.arange(len(B))[None] == start + jnp.arange(len(A))[:, None]
    similar = jnp.where(own, -jnp.inf, similar)
  values, indices = jax.lax.top_k(similar, n)
  return values, indices


def neighbours(
  A: Directions,
  B: Others | None = None,
  *,
  n: int = 1,
  absolute: bool = False,
  block: int = 1024,
) -> Neighbours:
  """The n directions of B that are nearest to each of A, by cosine.

  Args:
    A: Directions, e.g. the rows of a decoder.
    B: Other directions; None for A itself, each direction without itself.
    n: How many.
    absolute: Whether opposite directions are near, too: |cosine| decides.
    block: How many rows of A are compared at a time; memory grows with `block * G`.

  Returns:
    The neighbours.

  Raises:
    ValueError: if there are not n others.
  """
  themselves = B is None
  others = A if B is None else B
  available = len(others) - themselves
  if not 1 <= n <= available:
    raise ValueError(
      f'neighbours: n={n} of {available} other directions. Choose n between 1 and '
      f'{available}.'
    )
  A, others = _unit(A), _unit(others)
  found = [
    _nearest(A[start : start + block], others, start, n, absolute, themselves)
    for start in range(0, len(A), block)
  ]
  cosine, indices = (np.concatenate([np.asarray(f[i]) for f in found]) for i in (0, 1))
  return Neighbours(indices, cosine)


def _unit(rows: Array | np.ndarray) -> Array:
  rows = jnp.asarray(rows, jnp.float32)
  norms = jnp.linalg.norm(rows, axis=1, keepdims=True)
  return jnp.where(norms > 0, rows / jnp.where(norms > 0, norms, 1), 0)


def matched_cosine(A: Directions, B: Others) -> float:
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


def max_cosine(truth: Directions, learned: Others) -> float:
  """MMCS: the mean over true directions of the largest cosine with a learned one.

  From truth to learned (Sharkey et al. 2022): the other way round, dead and duplicate
  features would raise it.

  Args:
    truth: The directions to be found.
    learned: The decoder's rows.

  Returns:
    The mean.
  """
  return float(neighbours(truth, learned).cosines.mean())


def uniqueness(learned: Directions, truth: Others) -> float:
  """How many different truths the learned directions are nearest to, by |cosine|.

  Args:
    learned: The decoder's rows.
    truth: The directions to be found.

  Returns:
    Their number divided by that of the learned directions: 1 if no two share one.
  """
  nearest = neighbours(learned, truth, absolute=True).indices
  return len(np.unique(nearest)) / len(nearest)


@dataclasses.dataclass(frozen=True)
class Alikeness:
  """How much of the truth was learned: the module's formulas.

  Attributes:
    mcc: Mean |cosine| of matched pairs.
    mmcs: Mean over truths of the largest cosine.
    uniqueness: Different truths that learned rows are nearest to, per learned row.
    found_fraction: Share of truths with a learned row at a cosine above `ALIKE`.
  """

  mcc: float
  mmcs: float
  uniqueness: float
  found_fraction: float

  def to_dict(self) -> dict[str, float]:
    """The numbers by name."""
    return dataclasses.asdict(self)


def compare(learned: Directions, truth: Others) -> Alikeness:
  """Compares learned directions with known ones, or with those of another seed.

  Args:
    learned: The decoder's rows.
    truth: The directions to be found.

  Returns:
    The scores.
  """
  nearest = neighbours(truth, learned).cosines
  return Alikeness(
    mcc=matched_cosine(learned, truth),
    mmcs=float(nearest.mean()),
    uniqueness=uniqueness(learned, truth),
    found_fraction=float(np.mean(nearest > ALIKE)),
  )
