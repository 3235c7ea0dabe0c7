"""Sums over rows, of which the metrics of a dictionary are functions.

A row is all that one code explains: an activation `[D]`, or `[S, D]` for a crosscoder
that reads S of them; its norm and its products run over all of its axes. A batch is
summed on the device and batches are added in float64, so that how the rows are split
into batches changes nothing beyond rounding:

- Sums over rows are taken pairwise, whose rounding grows with log2(B) and not with B.
- The variance is of the rows about *their* mean, never a batch's: scatters are combined
  by the formula of Chan, Golub & LeVeque 1979, in which no large numbers are
  subtracted, and each batch's mean is corrected by the mean of what is left.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from interp_jax.sharding import to_host

# Below these norms a ratio of norms is not of a row: SAELens's own bounds.
SMALL_NORM = 1e-4  # of `l2_ratio`, which then divides by 1
TINY_NORM = 1e-6  # of `shrinkage`, which then leaves the row out

Rows = Float[Array | np.ndarray, 'B ...']


@runtime_checkable
class Coder(Protocol):
  """What is measured: a callable pytree with codes, as `Dictionary`.

  `encode` gives the codes of inputs, `[B, F]` or `[B, L, F]`, a call the output, and
  `norms` the weight of each feature in L1, `[F]` or `[L, F]`.
  """

  @property
  def params(self) -> Any: ...

  def norms(self) -> Array: ...

  def encode(self, x: Any) -> Array: ...

  def __call__(self, x: Any) -> Array: ...


@dataclasses.dataclass(frozen=True)
class Sums:
  """Sums over rows, float64, that can be added.

  Attributes:
    rows: N.
    elements: Numbers in a target row.
    mean: Mean of the targets, of a target row's shape.
    scatter: `sum ||t - mean||^2`.
    active: How often each feature is not zero, of the shape of a row's codes.
    totals: Sums of what is a number for each row, by name.
  """

  rows: float
  elements: int
  mean: Float[np.ndarray, '...']
  scatter: float
  active: Float[np.ndarray, '... F']
  totals: Mapping[str, float]

  def __add__(self, other: 'Sums') -> 'Sums':
    rows = self.rows + other.rows
    apart = other.mean - self.mean
    between = float(np.sum(apart * apart)) * self.rows * other.rows / rows
    return Sums(
      rows=rows,
      elements=self.elements,
      mean=self.mean + apart * (other.rows / rows),
      scatter=self.scatter + other.scatter + between,
      active=self.active + other.active,
      totals={name: self.totals[name] + other.totals[name] for name in self.totals},
    )


def _wide(x: Rows) -> Array:
  """As float32, or wider if it is."""
  return jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32))


def _total(values: Float[Array, 'B ...']) -> Float[Array, '...']:
  """The sum over the first axis, pairwise."""
  while (rows := values.shape[0]) > 1:
    odd = values[rows - 1 :] if rows % 2 else values[:0]
    half = values[: rows // 2] + values[rows // 2 : rows // 2 * 2]
    values = jnp.concatenate([half, odd])
  return values[0]


def _safe(x: Array, y: Array) -> Array:
  """`x / y`, and 0 where y is 0."""
  return jnp.where(y != 0, x / jnp.where(y != 0, y, 1), 0)


def _of_rows(t: Array, y: Array, center: Array | None) -> dict[str, Array]:
  """A number for each row of targets and outputs `[B, E]`."""
  error = jnp.sum(jnp.square(t - y), -1)
  dot = jnp.sum(t * y, -1)
  norm, out = jnp.linalg.norm(t, axis=-1), jnp.linalg.norm(y, axis=-1)
  known = norm > TINY_NORM
  numbers = {
    'error': error,
    'cosine': _safe(dot, norm * out),
    'norm_in': norm,
    'norm_out': out,
    'l2_ratio': out / jnp.where(norm < SMALL_NORM, 1, norm),
    'shrinkage': jnp.where(known, _safe(out, norm), 0),
    'shrinkage_rows': known,
    'out_squared': jnp.square(out),
    'dot': dot,
  }
  if center is not None:
    spread = jnp.sum(jnp.square(t - center.reshape(-1)), -1)
    numbers['legacy'] = jnp.where(spread > 0, 1 - _safe(error, spread), 0)
    numbers['legacy_rows'] = spread > 0
  return numbers


@jax.jit
def _batch_sums(
  dictionary: Coder, x: Array, t: Array, center: Array | None
) -> dict[str, Any]:
  x, t = _wide(x), _wide(t)
  codes, y = dictionary.encode(x), dictionary(x).astype(t.dtype)
  if y.shape != t.shape:
    raise ValueError(
      f'The dictionary gave outputs of shape {y.shape} for targets of {t.shape}. Give '
      'batches as pairs (inputs, targets) where the two differ.'
    )
  rows = len(t)
  flat, out = t.reshape(rows, -1), y.reshape(rows, -1)
  size = jnp.abs(codes).reshape(rows, -1)
  weights = dictionary.norms().reshape(-1)
  numbers = _of_rows(flat, out, center) | {
    'l1': jnp.sum(size, -1),
    'l1_weighted': jnp.sum(size * weights, -1),
  }
  mean = jnp.mean(flat, 0)
  scatter = jnp.sum(jnp.square(flat - mean), -1)
  stacked = jnp.stack([scatter, *(n.astype(t.dtype) for n in numbers.values())], 1)
  scatter, *totals = _total(stacked)
  return {
    'mean': mean.reshape(t.shape[1:]),
    'rest': jnp.mean(flat - mean, 0).reshape(t.shape[1:]),
    'scatter': scatter,
    'active': jnp.sum(codes != 0, 0),
    'totals': dict(zip(numbers, totals, strict=True)),
  }


def batch_sums(
  dictionary: Coder, x: Rows, targets: Rows | None = None, center: Any = None
) -> Sums:
  """The sums over one batch, to be added to others.

  Args:
    dictionary: The dictionary.
    x: Inputs `[B, ...]`.
    targets: What the outputs should be; None for the inputs.
    center: A fixed point, of a target's shape, for the legacy explained variance.

  Returns:
    The sums.

  Raises:
    ValueError: if outputs and targets differ in shape.
  """
  t = x if targets is None else targets
  found = to_host(_batch_sums(dictionary, x, t, center))
  rest = np.asarray(found['rest'], np.float64)
  return Sums(
    rows=float(t.shape[0]),
    elements=int(np.prod(t.shape[1:])),
    mean=np.asarray(found['mean'], np.float64) + rest,
    # About the exact mean, from the scatter about the rounded one.
    scatter=max(float(found['scatter']) - t.shape[0] * float(np.sum(rest**2)), 0.0),
    active=np.asarray(found['active'], np.float64),
    totals={name: float(total) for name, total in found['totals'].items()},
  )
