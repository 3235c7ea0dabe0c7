"""How good a dictionary is, as written formulas over a set of N rows.

With x the rows, y = dictionary(x), z = encode(x), and sums over the N rows:

    mse                 (1 / N) sum ||x - y||^2                   summed over D
    fvu                 sum ||x - y||^2 / sum ||x - mean(x)||^2
    explained_variance  1 - fvu
    l0                  (1 / N) sum #{f: z_f != 0}
    cosine              (1 / N) sum x.y / (||x|| ||y||)           0 where a norm is 0
    dead_fraction       share of features with z_f = 0 in all N rows
    density_f           (1 / N) #{rows: z_f != 0}

Each is a function of sums over rows, which are combined in float64: how the rows are
split into batches changes nothing beyond rounding. The mean of the rows is theirs, not
a batch's (per-batch FVU, averaged, is a common mistake: it depends on the batch size).
`dead_fraction` depends on N, which is therefore part of the result.
"""

from collections.abc import Iterable, Iterator
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from interp_jax.dictionaries.dictionary import Dictionary


@dataclasses.dataclass(frozen=True)
class Sums:
  """Sums over rows, float64: what the metrics are functions of.

  Attributes:
    rows: N.
    error: `sum ||x - y||^2`.
    mean: `[D]`, mean of the rows.
    scatter: `sum ||x - mean||^2`.
    active: `[F]`, how often each feature is not zero.
    cosine: Sum of the cosines of x and y.
  """

  rows: float
  error: float
  mean: Float[np.ndarray, ' D']
  scatter: float
  active: Float[np.ndarray, ' F']
  cosine: float

  def __add__(self, other: 'Sums') -> 'Sums':
    rows = self.rows + other.rows
    apart = other.mean - self.mean
    # Chan, Golub & LeVeque 1979: no large numbers are subtracted.
    between = float(apart @ apart) * self.rows * other.rows / rows
    return Sums(
      rows=rows,
      error=self.error + other.error,
      mean=self.mean + apart * (other.rows / rows),
      scatter=self.scatter + other.scatter + between,
      active=self.active + other.active,
      cosine=self.cosine + other.cosine,
    )


@dataclasses.dataclass(frozen=True)
class Metrics:
  """What the module's formulas give.

  Attributes:
    rows: N.
    mse: Mean squared error, summed over the width.
    fvu: Fraction of variance unexplained.
    explained_variance: `1 - fvu`.
    l0: Mean number of active features.
    cosine: Mean cosine of input and output.
    dead_fraction: Share of features that were never active.
    density: `[F]`, share of rows in which each feature is active.
  """

  rows: int
  mse: float
  fvu: float
  explained_variance: float
  l0: float
  cosine: float
  dead_fraction: float
  density: Float[np.ndarray, ' F']

  def to_dict(self) -> dict[str, float | int]:
    """The numbers, without the density of each feature."""
    fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    del fields['density']
    return fields


@jax.jit
def _batch_sums(dictionary: Dictionary, x: Float[Array, 'B D']) -> dict[str, Any]:
  x = x.astype(jnp.float32)
  codes = dictionary.encode(x)
  y = dictionary.decode(codes)
  norms = jnp.linalg.norm(x, axis=-1) * jnp.linalg.norm(y, axis=-1)
  cosine = jnp.where(norms > 0, jnp.sum(x * y, -1) / jnp.where(norms > 0, norms, 1), 0)
  mean = jnp.mean(x, 0)
  return {
    'error': jnp.sum(jnp.square(x - y)),
    'mean': mean,
    'scatter': jnp.sum(jnp.square(x - mean)),
    'active': jnp.sum(codes != 0, 0),
    'cosine': jnp.sum(cosine),
  }


def batch_sums(dictionary: Dictionary, x: Float[Array | np.ndarray, 'B D']) -> Sums:
  """The sums over one batch, to be added to others."""
  parts = jax.device_get(_batch_sums(dictionary, x))
  return Sums(
    rows=float(x.shape[0]),
    error=float(parts['error']),
    mean=np.asarray(parts['mean'], np.float64),
    scatter=float(parts['scatter']),
    active=np.asarray(parts['active'], np.float64),
    cosine=float(parts['cosine']),
  )


def finish(sums: Sums) -> Metrics:
  """The metrics from the sums over all rows.

  Raises:
    ValueError: if the rows do not vary, so that FVU is undefined.
  """
  if not sums.scatter > 0:
    raise ValueError(
      f'FVU is undefined: the {sums.rows:.0f} rows have variance {sums.scatter}. '
      'Give at least two rows that differ.'
    )
  fvu = sums.error / sums.scatter
  density = sums.active / sums.rows
  return Metrics(
    rows=int(sums.rows),
    mse=sums.error / sums.rows,
    fvu=fvu,
    explained_variance=1 - fvu,
    l0=float(density.sum()),
    cosine=sums.cosine / sums.rows,
    dead_fraction=float(np.mean(sums.active == 0)),
    density=density,
  )


def evaluate(
  dictionary: Dictionary, batches: Iterable[Float[Array | np.ndarray, 'B D']]
) -> Metrics:
  """The metrics over all rows of some batches, streamed.

  Args:
    dictionary: The dictionary.
    batches: Batches of raw activations, of any sizes.

  Returns:
    The metrics.

  Raises:
    ValueError: if there are no batches, or the rows do not vary.
  """
  total = None
  for x in batches:
    one = batch_sums(dictionary, x)
    total = one if total is None else total + one
  if total is None:
    raise ValueError('evaluate: there are no batches. Give at least one.')
  return finish(total)


def split(
  rows: Float[np.ndarray, 'N D'], batch_size: int = 2048
) -> Iterator[Float[np.ndarray, 'B D']]:
  """Rows as batches, the last one shorter where it does not fit."""
  for start in range(0, len(rows), batch_size):
    yield rows[start : start + batch_size]
