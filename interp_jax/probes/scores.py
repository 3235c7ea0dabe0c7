"""How good probes are on rows that they were not trained on."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer
import numpy as np

from interp_jax.probes.data import Data, parts
from interp_jax.probes.probe import Probes


@dataclasses.dataclass(frozen=True)
class ProbeScores:
  """Scores by layer and question, with the baseline that they have to beat.

  Attributes:
    confusion: Counts of held-out rows, `[L, Q, C, C]`: true class, predicted class.
    cross_entropy: Mean over the labelled rows, `[L, Q]`, in nats.
    train_counts: Of the training rows in each class, `[Q, C]`.
  """

  confusion: Any
  cross_entropy: Any
  train_counts: Any

  @property
  def labelled(self) -> Int[np.ndarray, ' Q']:
    """Held-out rows that have a label."""
    return self.confusion[0].sum((-2, -1))

  @property
  def accuracy(self) -> Float[np.ndarray, 'L Q']:
    """The fraction of rows whose class is predicted; NaN where none has a label."""
    right = np.trace(self.confusion, axis1=-2, axis2=-1)
    return _ratio(right, self.labelled)

  @property
  def balanced_accuracy(self) -> Float[np.ndarray, 'L Q']:
    """The mean over classes of the fraction that is predicted; of those there are."""
    right = np.diagonal(self.confusion, axis1=-2, axis2=-1)
    recall = _ratio(right, self.confusion.sum(-1))
    there = self.confusion.sum(-1) > 0
    return _ratio(np.where(there, recall, 0).sum(-1), there.sum(-1))

  @property
  def majority(self) -> Float[np.ndarray, ' Q']:
    """Accuracy of always saying the class most frequent among the training rows."""
    true = self.confusion[0].sum(-1)
    guess = self.train_counts.argmax(-1)
    return _ratio(np.take_along_axis(true, guess[:, None], -1)[:, 0], self.labelled)


def score(probes: Probes, data: Data, size: int = 8192) -> ProbeScores:
  """Scores probes on the held-out rows of some data.

  Args:
    probes: The probes.
    data: The data.
    size: Rows to compute at once.
  """
  questions, classes = data.labels.shape[1], data.classes
  confusion = np.zeros((probes.layers, questions, classes, classes), np.int64)
  loss = np.zeros((probes.layers, questions))
  size = min(size, int(data.held_out.sum()))
  for rows in parts(np.flatnonzero(data.held_out), size):
    padding = size - len(rows)  # So that one program serves all parts.
    features = np.pad(data.gather(rows), ((0, 0), (0, padding), (0, 0)))
    labels = np.pad(data.labels[rows], ((0, padding), (0, 0)), constant_values=-1)
    counts, losses = jax.device_get(_count(probes, features, labels))
    confusion += counts
    loss += losses
  labelled = confusion[0].sum((-2, -1))
  return ProbeScores(confusion, _ratio(loss, labelled), data.counts(data.train))


def auroc(
  values: Float[Array | np.ndarray, ' N'], labels: Integer[Array | np.ndarray, ' N']
) -> float:
  """The area under the receiver operating characteristic.

  It is the probability that a row of class 1 has a higher value than a row of class 0,
  where equal values count half (Mann & Whitney 1947).

  Args:
    values: What grows with class 1: a contrast, a difference of logits.
    labels: 1 or 0; rows with -1 are left out.

  Returns:
    1.0 if the classes are in order, 0.5 by chance.

  Raises:
    ValueError: if there are other labels, or none of one class.
  """
  values, labels = np.asarray(values), np.asarray(labels)
  values, labels = values[labels != -1], labels[labels != -1]
  if not set(np.unique(labels).tolist()) == {0, 1}:
    raise ValueError(
      f'auroc needs labels 0 and 1, and some of each (-1 for none); there are '
      f'{np.unique(labels).tolist()}.'
    )
  ordered = np.sort(values)
  below, upto = (np.searchsorted(ordered, values, side) for side in ('left', 'right'))
  ranks = (below + upto + 1) / 2  # From 1; equal values share the mean of theirs.
  ones = int(labels.sum())
  zeros = len(labels) - ones
  return float((ranks[labels == 1].sum() - ones * (ones + 1) / 2) / (ones * zeros))


@jax.jit
def _count(probes: Probes, features: Any, labels: Any) -> tuple[Any, Any]:
  """Confusion counts `[L, Q, C, C]` and summed losses `[L, Q]` of some rows."""
  logits = probes(features)
  classes = jnp.arange(probes.classes)
  true = labels[..., None] == classes  # All false where there is no label.
  said = logits.argmax(-1)[..., None] == classes
  counts = jnp.einsum('nqt,lnqp->lqtp', true.astype('int32'), said.astype('int32'))
  losses = -(jax.nn.log_softmax(logits) * true).sum((1, -1))
  return counts, losses


def _ratio(part: Any, whole: Any) -> np.ndarray:
  """The quotient; NaN where there is nothing."""
  whole = np.broadcast_to(whole, np.shape(part)).astype(np.float64)
  return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
