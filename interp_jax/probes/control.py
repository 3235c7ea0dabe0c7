"""Control tasks: what a probe learns that the activations do not hold.

Hewitt & Liang 2019, "Designing and Interpreting Probes with Control Tasks",
arXiv:1909.03368. Each word type gets a label at random, the same wherever it occurs,
and a probe is trained to tell it. No representation was made to hold that label: what
accuracy the probe reaches beyond chance is what it learned by heart. Selectivity is the
accuracy on the task less that on the control task, for the same kind of probe.
"""

import dataclasses
import os
import pathlib
from typing import Any

from jaxtyping import Array, Float, Int32, Integer
import numpy as np

from interp_jax.probes.config import ProbeConfig
from interp_jax.probes.data import Features
from interp_jax.probes.train import ProbeResult, train_probes


def control_labels(
  types: Integer[Array | np.ndarray, ' N'],
  labels: Integer[Array | np.ndarray, 'N Q'],
  seed: int = 0,
) -> Int32[np.ndarray, 'N Q']:
  """The labels of a control task: one for each type, drawn at random.

  Args:
    types: The type of each row: the token that stands there, for example.
    labels: Those of the task. For each question, a type's label is drawn with the
      classes' shares of rows; where there is no label (-1), there is none here.
    seed: Of the draws.

  Returns:
    The labels.

  Raises:
    ValueError: if sizes differ, or a question has no labels.
  """
  types, labels = np.asarray(types), np.asarray(labels, np.int32)
  if labels.ndim != 2 or types.shape != labels.shape[:1]:
    raise ValueError(
      f'Types are {types.shape}, labels {labels.shape}. Give types [N] and labels '
      '[N, Q] (one question: labels[:, None]).'
    )
  names, members = np.unique(types, return_inverse=True)
  random = np.random.default_rng(seed)
  drawn = np.empty_like(labels)
  for question, own in enumerate(labels.T):
    known = own[own >= 0]
    if not known.size:
      raise ValueError(f'Question {question} has no labels to draw from.')
    drawn[:, question] = random.choice(known, len(names))[members]
  return np.where(labels >= 0, drawn, -1)


@dataclasses.dataclass(frozen=True)
class Selectivity:
  """The same probe trained on a task and on its control task.

  Attributes:
    task: What was trained on the labels.
    control: What was trained on labels drawn for each type; None if a signal ended the
      run on the task before.
  """

  task: ProbeResult
  control: ProbeResult | None

  @property
  def finished(self) -> bool:
    """Whether both runs reached their last step."""
    return self.control is not None and self.control.finished

  @property
  def values(self) -> Float[np.ndarray, 'L Q']:
    """Accuracy on the task less accuracy on the control task, on held-out rows.

    Raises:
      ValueError: if a signal ended the runs.
    """
    if self.control is None or not self.control.finished:
      raise ValueError(
        'A signal ended the runs before the last step. To go on, call selectivity '
        'again with the same workdir.'
      )
    return self.task.scores.accuracy - self.control.scores.accuracy


def selectivity(
  features: Features,
  labels: Integer[Array | np.ndarray, 'N Q'],
  types: Integer[Array | np.ndarray, ' N'],
  config: ProbeConfig | None = None,
  *,
  groups: Integer[Array | np.ndarray, ' N'],
  classes: int | None = None,
  seed: int = 0,
  workdir: str | os.PathLike[str] | None = None,
  progress: bool = True,
) -> Selectivity:
  """Trains probes on a task and on its control task, alike in all else.

  Types must be on both sides of the split, or the control task cannot be learned:
  groups are documents or sentences, not types.

  Args:
    features: As in `train_probes`.
    labels: As in `train_probes`.
    types: The type of each row: the token that stands there, for example.
    config: As in `train_probes`.
    groups: As in `train_probes`.
    classes: As in `train_probes`.
    seed: Of the control task as well.
    workdir: Folder with a run in `task/` and one in `control/`; None for none.
    progress: Whether to show progress bars.

  Returns:
    Both runs.

  Raises:
    ValueError: as `train_probes` and `control_labels`.
    DivergedError: if a loss is not finite.
  """

  def train(name: str, labels: Any) -> ProbeResult:
    folder = None if workdir is None else pathlib.Path(workdir) / name
    return train_probes(
      features,
      labels,
      config,
      groups=groups,
      classes=classes,
      seed=seed,
      workdir=folder,
      progress=progress,
    )

  control = control_labels(types, labels, seed)
  task = train('task', labels)
  return Selectivity(task, train('control', control) if task.finished else None)
