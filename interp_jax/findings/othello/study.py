"""Everything that is measured, in order: play, read the board, flip discs."""

import dataclasses
from typing import Any

from jaxtyping import Float, Int8
import numpy as np

from interp_jax import models, probes
from interp_jax.findings.othello import flips, probing
from interp_jax.findings.othello.positions import Points, find_points, read_streams
from interp_jax.findings.othello.probing import (
  BLACK_WHITE,
  BY_MOVES,
  MINE_THEIRS,
  RANDOM,
  TRAINED,
  Reading,
)
from interp_jax.findings.othello.recipe import (
  Recipe,
  make_evaluation,
  make_model,
  train,
  training_curve,
)
from interp_jax.findings.run import Run
from interp_jax.tasks import othello


@dataclasses.dataclass(frozen=True)
class Settings:
  """How much is trained and measured.

  Attributes:
    model: The model and its training.
    games: Held-out games that probes are trained and scored on.
    linear: The linear probes.
    mlp: The probes with a hidden layer.
    cases: Discs to flip.
  """

  model: Recipe
  games: int
  linear: probes.ProbeConfig
  mlp: probes.ProbeConfig
  cases: int


@dataclasses.dataclass(frozen=True)
class Sample:
  """Some points of one held-out game, and what the linear probes read there.

  Attributes:
    squares: Where the last disc was placed, `[P]`.
    moves: How many moves were made, `[P]`.
    boards: What is true, `[P, Q]`, as the player to move sees it.
    read: What the probes say, `[P, Q]`.
  """

  squares: np.ndarray
  moves: np.ndarray
  boards: Int8[np.ndarray, 'P Q']
  read: np.ndarray


@dataclasses.dataclass(frozen=True)
class Study:
  """What was found.

  Attributes:
    size: Rows of the board.
    curve: The evaluations along the training, by name.
    illegal: How often the likeliest move is illegal, on games held out.
    untrained_illegal: The same with random weights.
    linear: How well linear probes read the board.
    mlp: How well probes with a hidden layer do.
    turned: By model, how well linear probes read discs that are no longer of the colour
      that was placed, by stream.
    effects: What flipping discs does.
    sample: What to show of the reading.
  """

  size: int
  curve: dict[str, np.ndarray]
  illegal: float
  untrained_illegal: float
  linear: Reading
  mlp: Reading
  turned: dict[str, Float[np.ndarray, ' S']]
  effects: flips.Effects
  sample: Sample


def examine(run: Run, settings: Settings) -> Study:
  """Trains the model and measures everything.

  Args:
    run: The working folder.
    settings: How much.

  Raises:
    Stopped: if a signal ended a training behind a checkpoint.
  """
  params = train(settings.model, run)
  with run.stages.clock.count('measurements'):
    return measure(params, training_curve(run), run, settings)


def measure(
  params: Any, curve: dict[str, np.ndarray], run: Run, settings: Settings
) -> Study:
  """Measures a model that plays.

  Args:
    params: Its parameters.
    curve: The evaluations along its training.
    run: The working folder.
    settings: How much.

  Raises:
    Stopped: if a signal ended the training of probes behind a checkpoint.
  """
  rules, model = othello.Rules(settings.model.board), make_model(settings.model)
  games, weights, probe_seed, case_seed = run.seeds('measurements', 4)
  moves = othello.random_games(rules, settings.games, games)
  points = find_points(rules, moves)
  untrained = models.init_params(model, weights)
  both = {TRAINED: params, RANDOM: untrained}
  streams = {name: read_streams(model, p, moves, points) for name, p in both.items()}
  labels = probing.make_labels(points, probe_seed)
  folder = run.workdir / 'probes'
  linear, result = probing.train_probes(
    streams,
    labels,
    points.game,
    settings.linear,
    seed=probe_seed,
    workdir=folder / 'linear',
    progress=run.progress,
  )
  readings = {}
  for labelling in (MINE_THEIRS, BLACK_WHITE, BY_MOVES):
    # Apart, because a hidden layer would be shared by all that is asked of it.
    readings[labelling], _ = probing.train_probes(
      streams,
      {labelling: labels[labelling]},
      points.game,
      settings.mlp,
      seed=probe_seed,
      workdir=folder / ('mlp ' + labelling).replace(' ', '_'),
      progress=run.progress,
    )
  held_out = points[result.held_out]
  read = _read_boards(result, streams, rules.squares)
  seen = ~result.held_out
  steps = probing.steps_along(
    result.probes, streams[TRAINED][:, seen], points.relative[seen]
  )
  found, others = flips.find_cases(rules, moves, held_out, settings.cases, case_seed)
  play = make_evaluation(model, rules, settings.games, case_seed)
  return Study(
    size=rules.size,
    curve=curve,
    illegal=play(params)['illegal'],
    untrained_illegal=play(untrained)['illegal'],
    linear=linear,
    mlp=probing.join(readings.values()),
    turned={name: _turned(boards, held_out) for name, boards in read.items()},
    effects=flips.measure(model, params, steps[1:], found, others, case_seed),
    sample=_sample(rules, moves, held_out, read[TRAINED], linear),
  )


def _read_boards(
  result: probes.ProbeResult, streams: dict[str, np.ndarray], squares: int
) -> dict[str, np.ndarray]:
  """By model, what the first labelling's probes read where held out, `[S, n, Q]`."""
  every = np.concatenate([x[:, result.held_out] for x in streams.values()])
  read = np.asarray(result.probes.predict(every))[..., :squares]
  return dict(zip(streams, np.split(read, len(streams)), strict=True))


def _turned(read: np.ndarray, points: Points) -> Float[np.ndarray, ' S']:
  """The share of turned discs whose side is read right, by stream."""
  return (read == points.relative)[:, points.turned].mean(-1)


def _sample(
  rules: othello.Rules, moves: np.ndarray, points: Points, read: np.ndarray, by: Reading
) -> Sample:
  """An early, a middle and a late point of the first held-out game."""
  stream = int(by.accuracy(TRAINED, MINE_THEIRS).argmax())
  rows = np.flatnonzero(points.game == points.game[0])
  rows = rows[[len(rows) // 6, len(rows) // 2, len(rows) * 5 // 6]]
  game, t = points.game[rows], points.t[rows]
  boards = othello.replay(rules, moves[game]).relative()[np.arange(len(rows)), t]
  placed = rules.square_of_token[moves[game, t]]
  return Sample(placed, t + 1, boards, read[stream, rows])
