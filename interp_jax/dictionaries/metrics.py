"""How good a dictionary is, as written formulas over a set of N rows.

With x an input, t its target (the input itself, for an autoencoder), y = dictionary(x)
the output, z = encode(x) the codes, sums over the N rows, and norms and products over
all axes of a row (`[D]`; `[S, D]` for a crosscoder):

    mse                 (1 / N) sum ||t - y||^2                  summed over the row
    mse_per_element     mse / E                                  E numbers in a row
    fvu                 sum ||t - y||^2 / sum ||t - mean(t)||^2
    explained_variance  1 - fvu
    explained_variance_legacy
                        mean of 1 - ||t - y||^2 / ||t - c||^2    rows with t != c
    l0                  (1 / N) sum #{f: z_f != 0}
    l1                  (1 / N) sum sum_f |z_f|
    l1_weighted         (1 / N) sum sum_f |z_f| ||W_dec_f||      `Dictionary.norms`
    cosine              (1 / N) sum t.y / (||t|| ||y||)          0 where a norm is 0
    norm_in, norm_out   (1 / N) sum ||t||, (1 / N) sum ||y||
    l2_ratio            (1 / N) sum ||y|| / ||t||               ||t|| < 1e-4 counts as 1
    shrinkage           mean of ||y|| / ||t||                    rows with ||t|| > 1e-6
    relative_reconstruction_bias
                        sum ||y||^2 / sum t.y
    dead_fraction       share of features with z_f = 0 in all N rows
    dense_fraction      share of features with density_f > 0.1
    density_f           (1 / N) #{rows: z_f != 0}

Each is a function of sums over rows (`sums`): how the rows are split into batches
changes nothing beyond rounding. The mean of the targets is theirs, not a batch's
(per-batch FVU, averaged, is a common mistake: it depends on the batch size).
`dead_fraction` depends on N, which is therefore part of the result.

**The two explained variances** are those of SAELens's evaluations. The current one,
`explained_variance`, is a ratio of two sums. The legacy one is a mean of ratios, one a
token, each against that token's squared distance to the mean of its own evaluation
batch: a token near the mean may outweigh all others, and the value depends on how
the tokens were batched. Against the mean of all rows it would be well defined, but it
is no function of sums that are known before that mean is, so one pass cannot give it.
Here the ratios are taken against a fixed point `c` that is the caller's, say the mean
in a dataset's statistics; with the mean of all rows it is SAELens's value for one batch
of them all, and without `c` it is None.

**Relative reconstruction bias** is equation 10 of Rajamanoharan et al. 2024
(2404.16014): the factor by which outputs are too large, `argmin_g sum ||y / g - t||^2`.
Below 1 the dictionary shrinks. SAELens takes the quotient in each batch and averages
those; the two agree for one batch.
"""

from collections.abc import Iterable, Iterator
import dataclasses
from typing import Any

from jaxtyping import Array, Float
import numpy as np

from interp_jax.dictionaries.sums import Coder, Sums, batch_sums

# A feature that is active on more of the rows than this is dense.
DENSE_ABOVE = 0.1


@dataclasses.dataclass(frozen=True)
class Metrics:
  """What the module's formulas give; None where one is undefined.

  Attributes:
    rows: N.
    mse: Mean squared error, summed over a row.
    mse_per_element: Mean squared error of a number in a row.
    fvu: Fraction of variance unexplained.
    explained_variance: `1 - fvu`, SAELens's current definition.
    explained_variance_legacy: Mean of the rows' own ratios, about a fixed point; None
      if that was not given.
    l0: Mean number of active features.
    l1: Mean sum of the codes' sizes.
    l1_weighted: The same, each feature weighed by the norm of what it writes.
    cosine: Mean cosine of target and output.
    norm_in: Mean norm of the targets.
    norm_out: Mean norm of the outputs.
    l2_ratio: Mean ratio of an output's norm to its target's.
    shrinkage: The same, without rows that are almost zero.
    relative_reconstruction_bias: By which factor outputs are too large; None if no
      output has anything of its target.
    dead_fraction: Share of features that were never active.
    dense_fraction: Share of features active on more than `DENSE_ABOVE` of the rows.
    density: Share of rows in which each feature is active: `[F]`, or of the shape of a
      row's codes.
  """

  rows: int
  mse: float
  mse_per_element: float
  fvu: float
  explained_variance: float
  explained_variance_legacy: float | None
  l0: float
  l1: float
  l1_weighted: float
  cosine: float
  norm_in: float
  norm_out: float
  l2_ratio: float
  shrinkage: float | None
  relative_reconstruction_bias: float | None
  dead_fraction: float
  dense_fraction: float
  density: Float[np.ndarray, '... F']

  def to_dict(self) -> dict[str, float | int]:
    """The numbers that are defined, without the density of each feature."""
    fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    del fields['density']
    return {name: value for name, value in fields.items() if value is not None}


def _ratio(above: float, below: float) -> float | None:
  return above / below if below else None


def finish(sums: Sums) -> Metrics:
  """The metrics from the sums over all rows.

  Raises:
    ValueError: if the targets do not vary, so that FVU is undefined.
  """
  if not sums.scatter > 0:
    raise ValueError(
      f'FVU is undefined: the {sums.rows:.0f} rows have variance {sums.scatter}. '
      'Give at least two rows that differ.'
    )
  totals = sums.totals
  means = {name: total / sums.rows for name, total in totals.items()}
  fvu = totals['error'] / sums.scatter
  density = sums.active / sums.rows
  return Metrics(
    rows=int(sums.rows),
    mse=means['error'],
    mse_per_element=means['error'] / sums.elements,
    fvu=fvu,
    explained_variance=1 - fvu,
    explained_variance_legacy=_ratio(
      totals.get('legacy', 0.0), totals.get('legacy_rows', 0.0)
    ),
    l0=float(density.sum()),
    l1=means['l1'],
    l1_weighted=means['l1_weighted'],
    cosine=means['cosine'],
    norm_in=means['norm_in'],
    norm_out=means['norm_out'],
    l2_ratio=means['l2_ratio'],
    shrinkage=_ratio(totals['shrinkage'], totals['shrinkage_rows']),
    relative_reconstruction_bias=_ratio(totals['out_squared'], totals['dot']),
    dead_fraction=float(np.mean(sums.active == 0)),
    dense_fraction=float(np.mean(density > DENSE_ABOVE)),
    density=density,
  )


def evaluate(
  dictionary: Coder,
  batches: Iterable[Any],
  *,
  center: Float[Array | np.ndarray, '...'] | None = None,
) -> Metrics:
  """The metrics over all rows of some batches, streamed.

  Args:
    dictionary: The dictionary, or another baseline with `encode` and a call.
    batches: Batches of raw activations `[B, D]` (`[B, S, D]` for a crosscoder), of any
      sizes, or pairs of inputs and targets where the dictionary is to give another
      activation than it reads.
    center: Of a target's shape, the point about which the legacy explained variance is
      taken, e.g. `reader.statistics().mean`; None to leave that out.

  Returns:
    The metrics.

  Raises:
    ValueError: if there are no rows, the targets do not vary, or their shape is not
      that of the outputs.
  """
  total = None
  for batch in batches:
    x, targets = batch if isinstance(batch, tuple) else (batch, None)
    if not len(x):
      continue
    one = batch_sums(dictionary, x, targets, center)
    total = one if total is None else total + one
  if total is None:
    raise ValueError('evaluate: there are no batches with rows. Give at least one.')
  return finish(total)


def split(
  rows: Float[np.ndarray, 'N ...'], batch_size: int = 2048
) -> Iterator[Float[np.ndarray, 'B ...']]:
  """Rows as batches, the last one shorter where it does not fit."""
  for start in range(0, len(rows), batch_size):
    yield rows[start : start + batch_size]
