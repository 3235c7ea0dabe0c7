"""Pictures of the finding: boards as they are and as they are read, curves."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
import numpy as np

from interp_jax import report
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
from interp_jax.report.palette import INK, RULE, SERIES
from interp_jax.tasks import othello

MINE_COLOUR, THEIRS_COLOUR, MOVE_COLOUR = SERIES[0], SERIES[1], SERIES[2]
_COLOURS = {othello.MINE: MINE_COLOUR, othello.THEIRS: THEIRS_COLOUR}


def training_curve(found: Study) -> Figure:
  """Illegal moves along the training."""
  curve = found.curve
  figure = report.curves(
    {'the model': (curve['step'], 100 * curve['illegal'])},
    x_name='updates',
    y_name='illegal moves, %',
    log_y=True,
    levels={'random weights': 100 * found.untrained_illegal},
  )
  axes = figure.axes[0]
  marks = (1, 2, 5, 10, 20, 50, 100)
  axes.set_yticks(marks, list(map(str, marks)))
  axes.set_yticks([], minor=True)
  axes.set_ylim(min(1, 80 * curve['illegal'].min()), 130)
  return figure


def accuracy_by_layer(found: Study) -> Figure:
  """What probes read, by layer, with what they have to beat."""
  linear, mlp = found.linear, found.mlp
  lines = {
    'mine or theirs': linear.accuracy(TRAINED, MINE_THEIRS),
    'black or white': linear.accuracy(TRAINED, BLACK_WHITE),
    'mine or theirs,\nrandom weights': linear.accuracy(RANDOM, MINE_THEIRS),
    'black or white,\nhidden layer': mlp.accuracy(TRAINED, BLACK_WHITE),
  }
  last = len(next(iter(lines.values()))) - 1
  figure = report.curves(
    {name: (np.arange(last + 1), 100 * line) for name, line in lines.items()},
    x_name='layers before the probe',
    y_name='squares read right, %',
    levels={'most frequent': 100 * linear.majority[MINE_THEIRS]},
  )
  axes = figure.axes[0]
  axes.set(xticks=range(last + 1), xlim=(-0.1, last * 1.3), ylim=(50, 100))
  _name_ends(axes, {name: float(100 * line[-1]) for name, line in lines.items()}, last)
  return figure


def table_by_layer(found: Study) -> Figure:
  """Every kind of probe in every layer, above the most frequent answer."""
  rows = {
    what + kind: reading.accuracy(model, labels) - reading.majority[labels]
    for what, model, labels in (
      ('mine or theirs', TRAINED, MINE_THEIRS),
      ('black or white', TRAINED, BLACK_WHITE),
      ('mine or theirs, random weights', RANDOM, MINE_THEIRS),
      ('black or white, random weights', RANDOM, BLACK_WHITE),
      ('control task', TRAINED, BY_MOVES),
      ('boards of other points', TRAINED, SHUFFLED),
    )
    for kind, reading in (('', found.linear), (', hidden layer', found.mlp))
    if labels in reading.majority
  }
  names = list(reversed(rows))
  figure = report.heat_map(
    np.stack([rows[name] for name in names]),
    names,
    [str(layer) for layer in range(len(rows[names[0]]))],
    row_name='',
    column_name='layers before the probe',
    value_name='share above the most frequent',
  )
  figure.set_size_inches(7, 4.2)
  return figure


def boards_read(found: Study) -> Figure:
  """Boards of a held-out game, above as they are, below as the probes read them."""
  sample = found.sample
  count = len(sample.boards)
  figure = Figure((2.3 * count, 4.9), layout='constrained')
  grid: Any = figure.subplots(2, count)
  for column in range(count):
    true, read = sample.boards[column], sample.read[column]
    upper, lower = grid[:, column]
    _board(upper, found.size, true, last=sample.squares[column])
    upper.set_title(f'after move {sample.moves[column]}', color=INK, fontsize=9.5)
    _board(lower, found.size, read)
    unread = np.arange(len(true)) == sample.squares[column]
    wrong = np.flatnonzero((true != read) & ~unread)
    _crosses(lower, found.size, wrong)
    title = f'read: {len(wrong)} of {len(true) - 1} wrong'
    lower.set_title(title, color=INK, fontsize=9.5)
  return figure


def moves_before_and_after(found: Study) -> Figure:
  """What the model holds for likely before and after a disc is turned over in it."""
  effects = found.effects
  case = effects.example
  rules = othello.Rules(found.size)
  moves, t, square = case.moves, int(case.t[0]), int(case.square[0])
  before = othello.replay(rules, moves).relative()[0, t]
  after = before.copy()
  after[square] = othello.MINE + othello.THEIRS - before[square]
  figure = Figure((7.2, 3.9), layout='constrained')
  axes: Any = figure.subplots(1, 2)
  titles = (
    'the model as it is',
    f'{rules.square_name(square)} turned over in the model',
  )
  legal = case.legal[0], case.legal_after[0]
  for k, board in enumerate((before, after)):
    logits = effects.example_logits[k]
    chance = np.exp(logits - logits.max())
    _moves(axes[k], rules, chance / chance.sum(), legal[k])
    _board(axes[k], found.size, board, ring=square)
    axes[k].set_title(titles[k], color=INK, fontsize=10)
  return figure


def errors_by_steps(found: Study) -> Figure:
  """Errors by how far the streams are moved, along three kinds of directions."""
  effects = found.effects
  return report.curves(
    {name: (flips.SCALES, curve) for name, curve in effects.curves.items()},
    x_name='steps along the direction',
    y_name='wrong moves per board',
    from_zero=True,
    levels={'boards that nobody touched': effects.floor},
  )


def _name_ends(axes: Axes, ends: dict[str, float], x: int) -> None:
  """Writes the names of lines at their ends, apart from each other, for a legend."""
  legend = axes.get_legend()
  if legend is not None:
    legend.remove()
  low, high = axes.get_ylim()
  colours = dict(zip(ends, SERIES, strict=False))
  lowest = low
  for name, y in sorted(ends.items(), key=lambda end: end[1]):
    lowest = max(y, lowest)
    axes.annotate(
      name,
      (x, lowest),
      xytext=(7, 0),
      textcoords='offset points',
      va='center',
      fontsize=8.5,
      color=colours[name],
    )
    lowest += 0.15 * (high - low)  # Two lines of small letters.


def _board(
  axes: Axes,
  size: int,
  board: np.ndarray,
  last: int | None = None,
  ring: int | None = None,
) -> None:
  """Draws discs; a dot is on the one just placed, a ring around the one in question."""
  for square, holds in enumerate(board):
    row, column = divmod(square, size)
    axes.add_patch(
      Rectangle((column, row), 1, 1, fill=False, edgecolor=RULE, linewidth=0.8)
    )
    if holds != othello.EMPTY:
      axes.add_patch(
        Circle((column + 0.5, row + 0.5), 0.36, color=_COLOURS[int(holds)], linewidth=0)
      )
    if square == last:
      axes.add_patch(Circle((column + 0.5, row + 0.5), 0.09, color='#ffffff'))
    if square == ring:
      axes.add_patch(
        Circle((column + 0.5, row + 0.5), 0.43, fill=False, edgecolor=INK, linewidth=2)
      )
  axes.set(xlim=(-0.05, size + 0.05), ylim=(size + 0.05, -0.05), aspect='equal')
  places = np.arange(size) + 0.5
  axes.set_xticks(places, list('abcdefgh'[:size]))
  axes.set_yticks(places, [str(row + 1) for row in range(size)])
  axes.tick_params(length=0, labelsize=8, colors=INK, labelcolor=INK)
  axes.set_facecolor('none')
  axes.spines[:].set_visible(False)


def _crosses(axes: Axes, size: int, squares: Sequence[int] | np.ndarray) -> None:
  for square in squares:
    row, column = divmod(int(square), size)
    corner = 0.3
    for sign in (1, -1):
      x = (column + 0.5 - corner, column + 0.5 + corner)
      y = (row + 0.5 - sign * corner, row + 0.5 + sign * corner)
      axes.plot(x, y, color=INK, linewidth=1.8)


def _moves(
  axes: Axes, rules: othello.Rules, chance: np.ndarray, legal: np.ndarray
) -> None:
  """Fills squares by the chance of a move there; legal ones have a frame."""
  for token, square in enumerate(rules.square_of_token):
    row, column = divmod(int(square), rules.size)
    share = float(chance[token] / chance.max())
    fill = Rectangle(
      (column, row), 1, 1, facecolor=MOVE_COLOUR, alpha=0.85 * share, linewidth=0
    )
    axes.add_patch(fill)
    if legal[token]:
      axes.add_patch(
        Rectangle(
          (column + 0.09, row + 0.09),
          0.82,
          0.82,
          fill=False,
          edgecolor=INK,
          linewidth=1.3,
          linestyle=(0, (3, 2)),
        )
      )
    if chance[token] >= 0.01:
      axes.text(
        column + 0.5,
        row + 0.5,
        f'{100 * chance[token]:.0f}',
        ha='center',
        va='center',
        fontsize=8.5,
        color=INK,
      )
