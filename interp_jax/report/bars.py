"""Horizontal bars: a few numbers of each of a few things, beside each other."""

from collections.abc import Mapping, Sequence
import itertools

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interp_jax.report.palette import INK, RULE, SERIES
from interp_jax.report.svg import tooltip
from interp_jax.report.tables import number
from interp_jax.report.types import Number

_BAR = 0.19  # Height of a bar in inches.


def bars(
  rows: Mapping[str, Mapping[str, Number]], *, x_name: str, width: Number = 7.2
) -> Figure:
  """Bars from 0, a group of them for each row, with their numbers at the ends.

  Args:
    rows: name of a row, from the top → name of a bar → how long it is. Bars of one name
      have one colour in all rows.
    x_name: name of the horizontal axis with its unit.
    width: of the picture in inches.

  Returns:
    The figure.

  Raises:
    ValueError: when there is no bar.
  """
  names = list(dict.fromkeys(name for values in rows.values() for name in values))
  if not names:
    raise ValueError('bars was given none; give at least one row with one bar')
  height = max(len(values) for values in rows.values()) * _BAR + 0.14
  many = len(names) > 1
  size = (float(width), height * len(rows) + 0.65 + 0.3 * many)
  figure = Figure(size, layout='constrained')
  axes = figure.add_subplot()
  for name, colour in zip(names, itertools.cycle(SERIES), strict=False):
    _draw(axes, rows, name, colour, _BAR / height)
  _style(axes, list(rows), x_name)
  if many:
    figure.legend(
      loc='outside upper right',
      ncols=len(names),
      frameon=False,
      fontsize=9,
      labelcolor=INK,
    )
  return figure


def _draw(
  axes: Axes,
  rows: Mapping[str, Mapping[str, Number]],
  name: str,
  colour: str,
  step: float,
) -> None:
  """The bars of one name, in all rows that have it; rows are 1 apart."""
  places, lengths = [], []
  for row, values in enumerate(rows.values()):
    if name in values:
      places.append(row + (list(values).index(name) - (len(values) - 1) / 2) * step)
      lengths.append(float(values[name]))
  drawn = axes.barh(places, lengths, 0.92 * step, color=colour, label=name)
  numbers = [number(length) for length in lengths]
  for bar, text in zip(drawn.patches, numbers, strict=True):
    bar.set_gid(tooltip(f'{name}: {text}'))
  axes.bar_label(drawn, numbers, padding=3, fontsize=8, color=INK, parse_math=False)


def _style(axes: Axes, names: Sequence[str], x_name: str) -> None:
  axes.set_facecolor('none')
  axes.margins(x=0.12)  # For the numbers.
  axes.set_yticks(range(len(names)), names, parse_math=False)
  axes.set_ylim(len(names) - 0.5, -0.5)
  axes.set_xlabel(x_name, color=INK, fontsize=9.5, parse_math=False)
  axes.tick_params(labelsize=8.5, length=0, labelcolor=INK)
  axes.spines[:].set_visible(False)
  axes.axvline(0, color=INK, linewidth=0.8)
  axes.grid(axis='x', color=RULE, linewidth=0.6)
  axes.set_axisbelow(True)
