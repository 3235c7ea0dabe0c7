"""How well features tell that a known direction is present: precision, recall, F1.

For data that is made of known directions ("truths") each feature is judged as a
detector of one truth, the one whose |cosine| with the feature's decoder row is largest.
Over N rows, with a feature active where its code is not zero and its truth present
where the truth's own activation is above zero:

    TP, FP, FN, TN   rows where both, only the feature, only the truth, neither is on
    precision        TP / (TP + FP)                             0 where undefined
    recall           TP / (TP + FN)                             0 where undefined
    f1               2 precision recall / (precision + recall)  0 where undefined
    accuracy         (TP + TN) / N

and each score of a dictionary is the mean over its features, a dead one counting 0 in
the first three. These are SAELens's definitions (`sae_lens.synthetic.evals`), by which
SynthSAEBench's numbers are made. The counts are sums over rows, so that batches of any
sizes may be added.

Several features may be judged against one truth, and a truth that is nobody's best
match is not asked for: read F1 beside `matched_cosine`, which pairs them one to one.
"""

from collections.abc import Iterable
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import numpy as np

from interp_jax.dictionaries.geometry import neighbours
from interp_jax.dictionaries.sums import Coder


@dataclasses.dataclass(frozen=True)
class Counts:
  """Rows by feature and truth, that can be added.

  Attributes:
    rows: N.
    both: `[F]`, true positives.
    active: `[F]`, rows in which the feature is active.
    present: `[F]`, rows in which its truth is present.
  """

  rows: float
  both: Float[np.ndarray, ' F']
  active: Float[np.ndarray, ' F']
  present: Float[np.ndarray, ' F']

  def __add__(self, other: 'Counts') -> 'Counts':
    return Counts(
      self.rows + other.rows,
      self.both + other.both,
      self.active + other.active,
      self.present + other.present,
    )


@dataclasses.dataclass(frozen=True)
class Detection:
  """What the module's formulas give.

  Attributes:
    rows: N.
    precision: `[F]`.
    recall: `[F]`.
    f1: `[F]`.
    accuracy: `[F]`.
  """

  rows: int
  precision: Float[np.ndarray, ' F']
  recall: Float[np.ndarray, ' F']
  f1: Float[np.ndarray, ' F']
  accuracy: Float[np.ndarray, ' F']

  def to_dict(self) -> dict[str, float | int]:
    """The means over the features."""
    scores = {
      name: float(getattr(self, name).mean())
      for name in ('precision', 'recall', 'f1', 'accuracy')
    }
    return scores | {'rows': self.rows}


@jax.jit
def count(
  active: Bool[Array, 'B F'], present: Bool[Array, 'B G'], truths: Int[Array, ' F']
) -> dict[str, Int[Array, ' F']]:
  """The counts of one batch.

  Args:
    active: Where each feature's code is not zero.
    present: Where each truth's activation is above zero.
    truths: The truth of each feature.

  Returns:
    `both`, `active` and `present`, as in `Counts`.
  """
  present = present[:, truths]
  return {
    'both': jnp.sum(active & present, 0),
    'active': jnp.sum(active, 0),
    'present': jnp.sum(present, 0),
  }


@jax.jit
def _active(dictionary: Coder, x: Array) -> Array:
  return dictionary.encode(x) != 0


def _over(above: np.ndarray, below: np.ndarray) -> np.ndarray:
  return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def finish(counts: Counts) -> Detection:
  """The scores from the counts over all rows."""
  precision = _over(counts.both, counts.active)
  recall = _over(counts.both, counts.present)
  wrong = counts.active + counts.present - 2 * counts.both
  return Detection(
    rows=int(counts.rows),
    precision=precision,
    recall=recall,
    f1=_over(2 * precision * recall, precision + recall),
    accuracy=(counts.rows - wrong) / counts.rows,
  )


def detect(
  dictionary: Coder,
  batches: Iterable[tuple[Any, Any]],
  directions: Float[Array | np.ndarray, 'G D'],
) -> Detection:
  """The scores over all rows of some batches, streamed.

  Args:
    dictionary: The dictionary; its codes are `[B, F]` and `params['W_dec']` `[F, D]`.
    batches: Pairs of inputs `[B, D]` and the activations `[B, G]` of the truths that
      they are made of, of any sizes.
    directions: The truths' directions.

  Returns:
    The scores of each feature.

  Raises:
    ValueError: if there are no rows, or the activations are not of these truths.
  """
  truths = neighbours(dictionary.params['W_dec'], directions, absolute=True).indices
  total = None
  for x, present in batches:
    if present.shape[1:] != directions.shape[:1]:
      raise ValueError(
        f'detect: activations of shape {present.shape} for {len(directions)} '
        'directions; the last axis must be theirs.'
      )
    if not len(x):
      continue
    found = count(
      _active(dictionary, x), jnp.asarray(present) > 0, jnp.asarray(truths[:, 0])
    )
    one = {name: np.asarray(n, np.float64) for name, n in found.items()}
    counts = Counts(float(len(x)), **one)
    total = counts if total is None else total + counts
  if total is None:
    raise ValueError('detect: there are no batches with rows. Give at least one.')
  return finish(total)
