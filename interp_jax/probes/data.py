"""Rows to train probes on: checked, and split by group."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Bool, Float, Integer
import numpy as np


@runtime_checkable
class Rows(Protocol):
  """The rows `[N, D]` of one layer, read by index: a memory map, a view of a store."""

  @property
  def shape(self) -> tuple[int, ...]: ...

  @property
  def dtype(self) -> Any: ...

  def __getitem__(self, index: Any, /) -> Any: ...


Features = Float[Array | np.ndarray, 'L N D'] | Sequence[Rows]
"""Activations `[L, N, D]`, or for each layer something that gives rows of `[N, D]`."""


class Data(NamedTuple):
  """Checked rows and their split.

  Attributes:
    features: For each layer, its rows `[N, D]`.
    labels: `[N, Q]` int32; -1 where there is none.
    held_out: Which rows to score on, `[N]`.
    classes: Number of classes C.
  """

  features: Sequence[Rows]
  labels: Any
  held_out: Any
  classes: int

  @property
  def width(self) -> int:
    """Width of the activations D."""
    return self.features[0].shape[1]

  @property
  def dtype(self) -> Any:
    """In what features are computed with: float32, or float64 where JAX has it."""
    kept = np.result_type(np.float32, *(layer.dtype for layer in self.features))
    return jax.dtypes.canonicalize_dtype(kept)

  @property
  def train(self) -> np.ndarray:
    """Indices of the rows to train on."""
    return np.flatnonzero(~self.held_out)

  def batch(self, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Some rows, as a step of training takes them."""
    return {'features': self.gather(rows), 'labels': self.labels[rows]}

  def gather(self, rows: np.ndarray) -> np.ndarray:
    """The features of some rows, `[L, n, D]`."""
    return np.stack([np.asarray(layer[rows], self.dtype) for layer in self.features])

  def counts(self, rows: np.ndarray) -> Integer[np.ndarray, 'Q C']:
    """How many of some rows each question has in each class."""
    labels = self.labels[rows]
    return np.stack([(labels == c).sum(0) for c in range(self.classes)], -1)


def split_groups(
  groups: Integer[Array | np.ndarray, ' N'], held_out: float, seed: int = 0
) -> Bool[np.ndarray, ' N']:
  """Chooses groups to hold out, whole: no group is on both sides.

  Rows of one game, document or sentence resemble each other. A probe that was trained
  on some of them may know the others by heart, and its accuracy says nothing.

  Args:
    groups: The group of each row.
    held_out: The fraction of groups to hold out; at least one is, and one is not.
    seed: Of the choice, which does not depend on the order of rows.

  Returns:
    Which rows are held out.

  Raises:
    ValueError: if there are fewer than two groups.
  """
  names, members = np.unique(np.asarray(groups), return_inverse=True)
  if len(names) < 2:
    raise ValueError(
      f'The rows are of {len(names)} group; at least 2 are needed, to hold one out. '
      'Give the game, document or sentence of each row, from several of them.'
    )
  count = min(max(round(held_out * len(names)), 1), len(names) - 1)
  chosen = np.random.default_rng(seed).permutation(len(names))[:count]
  return np.isin(members, chosen)


def check_data(
  features: Features,
  labels: Integer[Array | np.ndarray, 'N Q'],
  groups: Integer[Array | np.ndarray, ' N'],
  classes: int | None,
  held_out: float,
  seed: int,
) -> Data:
  """The data of a run.

  Raises:
    ValueError: if shapes do not fit, a label is out of range, or a question has fewer
      than two classes among the training rows.
  """
  if isinstance(features, Array):
    features = np.asarray(features)
  layers = list(features)
  labels, groups = np.asarray(labels), np.asarray(groups)
  if labels.dtype.kind not in 'iu':
    raise ValueError(
      f'Labels are {labels.dtype}; give the numbers of classes, as ints.'
    )
  shapes = [tuple(layer.shape) for layer in layers]
  if labels.ndim != 2 or not shapes or any(s != shapes[0] for s in shapes):
    raise ValueError(_shapes(shapes, labels, groups))
  if len(shapes[0]) != 2 or {shapes[0][0], *groups.shape} != {len(labels)}:
    raise ValueError(_shapes(shapes, labels, groups))
  classes = _check_labels(labels, classes)
  held_out_rows = split_groups(groups, held_out, seed)
  data = Data(layers, labels.astype(np.int32), held_out_rows, classes)
  seen = (data.counts(data.train) > 0).sum(-1)
  if (seen < 2).any():
    raise ValueError(
      f'Questions {np.flatnonzero(seen < 2).tolist()} have fewer than two classes '
      f'among the {len(data.train)} training rows: there is nothing to tell apart. '
      'Leave them out, or give more groups.'
    )
  return data


def _shapes(shapes: list[tuple[int, ...]], labels: Any, groups: Any) -> str:
  return (
    f'Features are {len(shapes)} layers of shapes {sorted(set(shapes))}, labels '
    f'{labels.shape}, groups {groups.shape}. Give features [L, N, D] (one layer: '
    'features[None]), labels [N, Q] (one question: labels[:, None]) and groups [N].'
  )


def _check_labels(labels: np.ndarray, classes: int | None) -> int:
  """The number of classes."""
  if not labels.size:
    raise ValueError(f'Labels of shape {labels.shape} are empty.')
  low, high = labels.min(), labels.max()
  classes = max(int(high) + 1, 2) if classes is None else classes
  if low < -1 or high >= classes:
    raise ValueError(
      f'Labels go from {low} to {high}. Valid are 0 to {classes - 1}, and -1 where a '
      'row has no label.'
    )
  return classes


def parts(rows: np.ndarray, size: int) -> list[np.ndarray]:
  """Rows in parts of at most a size."""
  return [rows[first : first + size] for first in range(0, len(rows), size)]


def standardization(data: Data, size: int = 8192) -> tuple[np.ndarray, np.ndarray]:
  """Mean and standard deviation of the training rows, `[L, D]` each.

  Two passes in float64. A coordinate that does not vary is divided by 1.

  Raises:
    ValueError: if a layer has an infinity or a NaN.
  """
  mean = _mean(data, lambda x: x, size)
  if not np.isfinite(mean).all():
    layers = np.flatnonzero(~np.isfinite(mean).all(-1)).tolist()
    raise ValueError(f'Features of layers {layers} have values that are not finite.')
  scale = np.sqrt(_mean(data, lambda x: (x - mean[:, None]) ** 2, size))
  fixed = scale <= 1e-6 * np.abs(mean)  # What rounding in float32 leaves of 0.
  return mean, np.where(fixed, 1.0, scale)


def _mean(data: Data, of: Callable[[np.ndarray], Any], size: int) -> np.ndarray:
  """The mean over the training rows of a function of them, `[L, D]`."""
  total = np.zeros((len(data.features), data.width))
  for rows in parts(data.train, size):
    total += of(data.gather(rows).astype(np.float64)).sum(1)
  return total / len(data.train)
