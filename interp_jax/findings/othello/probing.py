"""Probes of the board, and everything that they are compared with.

Linear probes cannot share what they learn, so one program trains all of them: on every
residual stream of the model and of a model with random weights, for every square, and
for four labellings of it.
"""

from collections.abc import Iterable
import dataclasses
import pathlib
from typing import Any

from jaxtyping import Float, Int
import numpy as np

from interp_jax import probes
from interp_jax.findings.othello.positions import Points
from interp_jax.findings.run import Stopped
from interp_jax.tasks import othello

CLASSES = 3  # EMPTY, MINE, THEIRS; or EMPTY, BLACK, WHITE.

MINE_THEIRS, BLACK_WHITE = 'mine or theirs', 'black or white'
SHUFFLED, BY_MOVES = 'shuffled', 'by the last moves'
LABELLINGS = (MINE_THEIRS, BLACK_WHITE, SHUFFLED, BY_MOVES)

TRAINED, RANDOM = 'trained', 'random weights'


@dataclasses.dataclass(frozen=True)
class Reading:
  """How well probes of one kind read the board from S streams of some models.

  Attributes:
    confusion: By model and labelling, counts of held-out points by true class and class
      that was read, `[S, Q, C, C]`.
    majority: By labelling, the accuracy of saying what is most frequent on each square,
      mean over squares.
  """

  confusion: dict[tuple[str, str], np.ndarray]
  majority: dict[str, float]

  def accuracy(self, model: str, labelling: str) -> Float[np.ndarray, ' S']:
    """By stream, the share of squares that are read right, mean over squares."""
    counts = self.confusion[model, labelling]
    right = np.trace(counts, axis1=-2, axis2=-1)
    return (right / counts.sum((-2, -1))).mean(-1)

  def disc_accuracy(self, model: str, labelling: str) -> Float[np.ndarray, ' S']:
    """The same of squares that are not empty; reading 'empty' there is wrong."""
    discs = self.confusion[model, labelling][..., 1:, :]
    right = np.trace(discs[..., 1:], axis1=-2, axis2=-1)
    return right.sum(-1) / discs.sum((-3, -2, -1))

  def best(self, model: str, labelling: str) -> float:
    """The accuracy at the stream where it is highest."""
    return float(self.accuracy(model, labelling).max())


def join(readings: Iterable[Reading]) -> Reading:
  """Readings of several labellings as one."""
  confusion: dict[tuple[str, str], np.ndarray] = {}
  majority: dict[str, float] = {}
  for one in readings:
    confusion |= one.confusion
    majority |= one.majority
  return Reading(confusion, majority)


def make_labels(points: Points, seed: int) -> dict[str, Int[np.ndarray, 'N Q']]:
  """What probes are asked, by labelling.

  Args:
    points: The points.
    seed: Of what is drawn.

  Returns:
    The board as the player to move sees it; the board by colour; the first with its
    points exchanged at random; and a control task, labels drawn for each pair of last
    moves.
  """
  rng = np.random.default_rng(seed)
  shuffled = points.relative[rng.permutation(len(points.t))]
  control = probes.control_labels(points.last_moves, points.relative, seed)
  every = (points.relative, points.absolute, shuffled, control)
  return {name: np.asarray(x, int) for name, x in zip(LABELLINGS, every, strict=True)}


def train_probes(
  streams: dict[str, Float[np.ndarray, 'S N D']],
  labels: dict[str, Int[np.ndarray, 'N Q']],
  games: Int[np.ndarray, ' N'],
  config: probes.ProbeConfig,
  *,
  seed: int,
  workdir: pathlib.Path | None = None,
  progress: bool = False,
) -> tuple[Reading, probes.ProbeResult]:
  """Trains the probes of all streams, labellings and squares at once.

  Args:
    streams: By model, its residual streams.
    labels: By labelling, the class of each square.
    games: The game of each point; games are held out whole.
    config: Which probes.
    seed: Of the split and of the training.
    workdir: Folder of the run.
    progress: Whether to show a progress bar.

  Returns:
    How well they read, and the run: streams are its layers, model by model, and
    squares are its questions, labelling by labelling.

  Raises:
    Stopped: if a signal ended the training.
  """
  result = probes.train_probes(
    np.concatenate(list(streams.values())),
    np.concatenate(list(labels.values()), 1),
    config,
    groups=games,
    classes=CLASSES,
    seed=seed,
    workdir=workdir,
    progress=progress,
  )
  if not result.finished:
    raise Stopped('The training of probes was stopped; run again to go on.')
  scores = result.scores
  count = next(iter(labels.values())).shape[1]
  depth = len(next(iter(streams.values())))
  split = scores.confusion.reshape(
    len(streams), depth, len(labels), count, CLASSES, CLASSES
  )
  confusion = {
    (model, labelling): split[m, :, n]
    for m, model in enumerate(streams)
    for n, labelling in enumerate(labels)
  }
  majority = scores.majority.reshape(len(labels), count).mean(-1)
  frequent = dict(zip(labels, map(float, majority), strict=True))
  return Reading(confusion, frequent), result


def steps_along(
  found: probes.Probes, streams: Float[np.ndarray, 'S N D'], relative: Any
) -> Float[np.ndarray, 'S Q D']:
  """For each stream and square, a step from `THEIRS` towards `MINE`.

  It goes along what the linear probe reads, and is as long as discs of the two kinds
  lie apart along it, on average over squares.

  Args:
    found: Probes, the first S layers and Q questions of which are of these streams and
      squares.
    streams: The streams at some points.
    relative: What is true there, `[N, Q]`.
  """
  directions, gaps = [], []
  for square, labels in enumerate(relative.T):
    along = np.asarray(found.directions(square, othello.MINE, othello.THEIRS))
    along = along[: len(streams)]
    read = np.einsum('snd,sd->sn', streams, along)
    mine, theirs = (read[:, labels == side] for side in (othello.MINE, othello.THEIRS))
    directions.append(along)
    gaps.append(mine.mean(1) - theirs.mean(1))
  length = np.abs(gaps).mean(0)
  return length[:, None, None] * np.stack(directions, 1)
