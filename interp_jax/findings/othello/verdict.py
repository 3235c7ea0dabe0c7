"""The quantities of the finding, and their bounds: the one place where they are."""

import dataclasses

from interp_jax.findings.finding import Quantity
from interp_jax.findings.othello import flips
from interp_jax.findings.othello.probing import (
  BLACK_WHITE,
  BY_MOVES,
  MINE_THEIRS,
  RANDOM,
  SHUFFLED,
  TRAINED,
)
from interp_jax.findings.othello.study import Study


@dataclasses.dataclass(frozen=True)
class Bounds:
  """What must hold; beside each what was measured on a 6 by 6 board."""

  illegal: float = 0.035  # .024
  untrained_illegal: float = 0.5  # .82
  accuracy: float = 0.90  # .919
  disc_accuracy: float = 0.80  # .855
  turned_accuracy: float = 0.65  # .789
  margin: float = 0.10  # .154 over black or white, .296 over random weights
  majority_margin: float = 0.25  # .373
  shuffled: float = 0.02  # -.001
  selectivity: float = 0.25  # .356
  errors_left: float = 0.75  # .61
  control_errors: float = 0.95  # 1.12 random directions, 1.27 another square


BOUNDS = Bounds()


def quantities(found: Study) -> tuple[Quantity, ...]:
  """All quantities of a study."""
  return (
    *_play(found),
    *_linear(found),
    *_controls(found),
    *_mlp(found),
    *_flips(found),
  )


def _play(found: Study) -> list[Quantity]:
  return [
    Quantity(
      'illegal_moves',
      'share of points of new games at which the likeliest next move is illegal',
      [found.illegal],
      at_most=BOUNDS.illegal,
      paper='.0001 (8 layers, 20 million games)',
      headline=True,
    ),
    Quantity(
      'illegal_moves_untrained',
      'the same of a model with random weights',
      [found.untrained_illegal],
      at_least=BOUNDS.untrained_illegal,
      control=True,
      paper='.933',
    ),
  ]


def _linear(found: Study) -> list[Quantity]:
  linear = found.linear
  discs = linear.disc_accuracy(TRAINED, MINE_THEIRS)
  return [
    Quantity(
      'mine_theirs',
      'share of squares that linear probes read right as empty, mine or theirs, in the'
      ' best layer, on games held out; without the disc just placed',
      [linear.best(TRAINED, MINE_THEIRS)],
      at_least=BOUNDS.accuracy,
      paper='.99 (Nanda)',
      headline=True,
    ),
    Quantity(
      'mine_theirs_discs',
      'the same of the squares that hold a disc',
      [discs.max()],
      at_least=BOUNDS.disc_accuracy,
    ),
    Quantity(
      'mine_theirs_turned',
      'the same of discs that are no longer of the side that placed them',
      [found.turned[TRAINED].max()],
      at_least=BOUNDS.turned_accuracy,
    ),
  ]


def _controls(found: Study) -> list[Quantity]:
  linear = found.linear
  mine = linear.best(TRAINED, MINE_THEIRS)
  black = linear.best(TRAINED, BLACK_WHITE)
  random = linear.best(RANDOM, MINE_THEIRS)
  return [
    Quantity(
      'black_white',
      'accuracy of linear probes for empty, black or white, in their best layer',
      [black],
      paper='.79 (Li)',
    ),
    Quantity(
      'margin_over_black_white',
      'how far mine or theirs is read better than black or white',
      [mine - black],
      at_least=BOUNDS.margin,
      control=True,
      headline=True,
    ),
    Quantity(
      'random_weights',
      'accuracy of probes for mine or theirs on a model with random weights',
      [random],
      paper='.73 (Li, black or white)',
    ),
    Quantity(
      'margin_over_random_weights',
      'how far the trained model is read better than the random one',
      [mine - random],
      at_least=BOUNDS.margin,
      control=True,
      headline=True,
    ),
    Quantity(
      'majority',
      'accuracy of saying what is most frequent on each square, for mine or theirs',
      [linear.majority[MINE_THEIRS]],
      paper='.53 (Li, black or white)',
    ),
    Quantity(
      'margin_over_majority',
      'how far mine or theirs is read better than by saying what is most frequent on'
      ' each square',
      [mine - linear.majority[MINE_THEIRS]],
      at_least=BOUNDS.majority_margin,
      control=True,
    ),
    Quantity(
      'shuffled_over_majority',
      'the same for probes that were trained on the boards of other points',
      [linear.best(TRAINED, SHUFFLED) - linear.majority[SHUFFLED]],
      at_most=BOUNDS.shuffled,
      control=True,
    ),
    Quantity(
      'selectivity',
      'mine or theirs, less the control task: labels drawn for each pair of last moves',
      [mine - linear.best(TRAINED, BY_MOVES)],
      at_least=BOUNDS.selectivity,
      control=True,
    ),
  ]


def _mlp(found: Study) -> list[Quantity]:
  mlp = found.mlp
  mine = mlp.best(TRAINED, MINE_THEIRS)
  return [
    Quantity(
      'mlp_mine_theirs', 'mine or theirs, by probes with a hidden layer', [mine]
    ),
    Quantity(
      'mlp_black_white',
      'black or white, by probes with a hidden layer',
      [mlp.best(TRAINED, BLACK_WHITE)],
      paper='.983 (Li)',
    ),
    Quantity(
      'mlp_random_weights',
      'mine or theirs, by probes with a hidden layer, on the random model',
      [mlp.best(RANDOM, MINE_THEIRS)],
      paper='.745 (Li, black or white)',
    ),
    Quantity(
      'mlp_selectivity',
      'mine or theirs, less the control task, by probes with a hidden layer',
      [mine - mlp.best(TRAINED, BY_MOVES)],
    ),
  ]


def _flips(found: Study) -> list[Quantity]:
  effects = found.effects
  other, random = (
    effects.after(name) / effects.before for name in (flips.OTHER_SQUARE, flips.RANDOM)
  )
  return [
    Quantity(
      'flip_errors_before',
      'wrong moves per board with one disc turned over, before the edit',
      [effects.before],
      paper='2.23 (Li)',
      headline=True,
    ),
    Quantity(
      'flip_errors_after',
      'the same after the disc was turned over in the model',
      [effects.after(flips.PROBE)],
      paper='.10 to .22 (Nanda, Li)',
      headline=True,
    ),
    Quantity(
      'flip_errors_floor',
      'wrong moves per board that nobody touched: what the model cannot do better',
      [effects.floor],
    ),
    Quantity(
      'flip_errors_left',
      'share of the errors that the edit leaves',
      [effects.after(flips.PROBE) / effects.before],
      at_most=BOUNDS.errors_left,
    ),
    Quantity(
      'flip_errors_left_other_square',
      "the same for a step along another disc's direction",
      [other],
      at_least=BOUNDS.control_errors,
      control=True,
    ),
    Quantity(
      'flip_errors_left_random',
      'the same for a step along a random direction, of the same length',
      [random],
      at_least=BOUNDS.control_errors,
      control=True,
    ),
  ]
