"""Pictures from plain arrays: heat maps of sweeps, curves and histograms.

Each function returns a `matplotlib.figure.Figure` that belongs to nobody: no pyplot, no
current figure, no backend chosen for the caller. `svg.to_svg` puts one into a page; in
a notebook a figure shows itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
import numpy as np

from interp_jax.report import labels
from interp_jax.report.palette import (
  DIVERGING,
  INK,
  RULE,
  SERIES,
  centred_norm,
  text_on,
)
from interp_jax.report.svg import tooltip
from interp_jax.report.types import Number, Numbers

_MONO = {'fontfamily': 'DejaVu Sans Mono', 'parse_math': False}
# Beyond so many cells, numbers cannot be read and each tooltip only adds weight.
_MOST_CELLS = 1500


def heat_map(
  values: Float[np.ndarray, 'rows columns'],
  row_labels: Sequence[str],
  column_labels: Sequence[str],
  *,
  row_name: str,
  column_name: str,
  value_name: str,
  tokens: bool = False,
  annotate: bool | None = None,
  limit: Number | None = None,
) -> Figure:
  """A labelled map of a sweep, row 0 at the bottom, 0 in the neutral colour.

  Args:
    values: one number per cell; NaN is drawn as an empty cell.
    row_labels: one per row, for example layers.
    column_labels: one per column, for example heads, or tokens at positions.
    row_name: name of the vertical axis.
    column_name: name of the horizontal axis.
    value_name: what the colour is, with its unit.
    tokens: whether `column_labels` are tokens; whitespace is then made visible.
    annotate: write each number into its cell; by default when there is room.
    limit: the value at the ends of the colour scale; by default the largest absolute
      value.

  Returns:
    The figure. Each cell carries its exact number as a tooltip.

  Raises:
    ValueError: when labels and values do not match.
  """
  rows, columns = values.shape
  _check_labels('row', row_labels, rows)
  _check_labels('column', column_labels, columns)
  names = labels.axis_labels(column_labels) if tokens else list(column_labels)
  cell = _cell_width(columns)
  bottom = 0.075 * max(map(len, names), default=0) if tokens else 0.25
  figure = _figure(1.9 + cell * columns, 0.75 + 0.36 * rows + bottom)
  axes = figure.add_subplot()
  shown = values[np.isfinite(values)]
  norm = centred_norm(shown.min(initial=0), shown.max(initial=0))
  if limit is not None:
    norm = centred_norm(-limit, limit)
  if annotate is None:
    annotate = cell >= 0.34 and rows * columns <= 400
  if rows * columns > _MOST_CELLS:
    axes.imshow(values, cmap=DIVERGING, norm=norm, origin='lower', aspect='auto')
  else:
    _draw_cells(axes, values, row_labels, names, norm, annotate)
  axes.set_xticks(
    range(columns), names, fontsize=8.5, rotation=90 if tokens else 0, **_MONO
  )
  axes.set_yticks(range(rows), row_labels, fontsize=9, parse_math=False)
  axes.set(xlim=(-0.5, columns - 0.5), ylim=(-0.5, rows - 0.5))
  style(axes, column_name, row_name, grid=False)
  axes.spines[:].set_visible(False)
  _colour_bar(figure, axes, norm, value_name)
  return figure


def _cell_width(columns: int) -> float:
  """Inches per column: roomy for few, never less than a label's height."""
  return float(np.clip(9.0 / max(columns, 1), 0.19, 0.62))


def _draw_cells(axes, values, row_labels, column_labels, norm, annotate) -> None:
  for (row, column), value in np.ndenumerate(values):
    if not np.isfinite(value):
      continue
    colour = DIVERGING(norm(value))
    square = Rectangle(
      (column - 0.48, row - 0.48), 0.96, 0.96, facecolor=colour, linewidth=0
    )
    square.set_gid(tooltip(f'{row_labels[row]}, {column_labels[column]}: {value:+.3f}'))
    axes.add_patch(square)
    if annotate:
      # −0.00 would suggest a sign that the rounding has taken away.
      text = f'{value:.2f}'.replace('-0.00', '0.00').replace('-', '−')
      axes.text(
        column, row, text, ha='center', va='center', fontsize=7.5, color=text_on(colour)
      )


def _colour_bar(figure: Figure, axes: Axes, norm, name: str) -> None:
  bar = figure.colorbar(
    ScalarMappable(norm, DIVERGING), ax=axes, pad=0.015, aspect=14, fraction=0.06
  )
  assert bar.solids is not None  # It is there for a filled map.
  assert bar.solids is not None  # It is there for a filled map.
  bar.solids.set_rasterized(True)  # 256 outlined strips would show seams in print
  bar.outline.set_visible(False)
  bar.set_label(name, color=INK, fontsize=9, parse_math=False)
  bar.ax.tick_params(colors=INK, labelsize=8, length=2)
  bar.ax.set_yticks(np.linspace(norm.vmin, norm.vmax, 5))
  bar.ax.yaxis.set_major_formatter(
    lambda v, _: f'{v:+.2g}'.replace('-', '−') if v else '0'
  )


def curves(
  series: Mapping[str, tuple[Numbers, Numbers]],
  *,
  x_name: str,
  y_name: str,
  log_x: bool = False,
  log_y: bool = False,
  from_zero: bool = False,
  width: Number = 6.4,
  levels: Mapping[str, Number] | None = None,
) -> Figure:
  """Lines over a common axis, each named at its end: training and loss curves.

  Args:
    series: name -> (x, y), each a sequence of numbers of equal length.
    x_name: name of the horizontal axis with its unit.
    y_name: name of the vertical axis with its unit.
    log_x: logarithmic horizontal axis.
    log_y: logarithmic vertical axis.
    from_zero: let the vertical axis start at 0, as fits quantities that are fractions.
    width: of the picture in inches; narrower ones keep their letters' size.
    levels: name -> a height at which to draw a dashed line, for comparison.

  Returns:
    The figure.

  Raises:
    ValueError: when there is no series, or x and y of one differ in length.
  """
  if not series:
    raise ValueError('curves was given no series; give at least one name -> (x, y)')
  figure = _figure(float(width), 2.9)
  axes = figure.add_subplot()
  for index, (name, (x, y)) in enumerate(series.items()):
    if len(x) != len(y):
      raise ValueError(
        f'series {name!r} has {len(x)} x and {len(y)} y; they must be equally many'
      )
    axes.plot(
      np.asarray(x),
      np.asarray(y),
      color=SERIES[index % len(SERIES)],
      linestyle=('-', '--', '-.')[index // len(SERIES) % 3],
      linewidth=1.8,
      marker='o' if len(x) == 1 else None,
      label=name,
    )
  for name, height in (levels or {}).items():
    level(axes, float(height), name)
  axes.set_xscale('log' if log_x else 'linear')
  axes.set_yscale('log' if log_y else 'linear')
  if from_zero:
    axes.set_ylim(bottom=0)
  style(axes, x_name, y_name)
  if len(series) > 1:
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc='best')
  return figure


def histogram(
  values: Float[np.ndarray, ' n'],
  *,
  x_name: str,
  y_name: str,
  bins: int = 40,
  log: bool = False,
  marks: Mapping[str, Number] | None = None,
) -> Figure:
  """A histogram, with logarithmic bins for quantities that span decades.

  Args:
    values: the numbers; with `log`, those that are not positive are left out, and it is
      for the caller to say how many they were.
    x_name: name of the horizontal axis with its unit.
    y_name: what is counted.
    bins: number of bars.
    log: logarithmic bins and axis.
    marks: name -> a place on the horizontal axis at which to draw a line.

  Returns:
    The figure.
  """
  values = np.asarray(values, dtype=np.float64)
  values = values[np.isfinite(values) & (values > 0 if log else True)]
  figure = _figure(6.4, 2.7)
  axes = figure.add_subplot()
  edges: Any = _log_edges(values, bins) if log else bins
  axes.hist(values, bins=edges, color=SERIES[0], linewidth=0, rwidth=0.92)
  for name, place in (marks or {}).items():
    axes.axvline(float(place), color=SERIES[1], linewidth=1.4, linestyle=(0, (4, 3)))
    axes.annotate(
      name,
      (place, 0.98),
      xycoords=('data', 'axes fraction'),
      xytext=(4, 0),
      textcoords='offset points',
      va='top',
      fontsize=8.5,
      color=INK,
    )
  axes.set_xscale('log' if log else 'linear')
  style(axes, x_name, y_name)
  return figure


def _log_edges(values: np.ndarray, bins: int) -> np.ndarray:
  if not values.size:
    return np.geomspace(1e-3, 1, bins + 1)
  low, high = values.min(), values.max()
  return np.geomspace(low / 1.05, high * 1.05, bins + 1)


def _figure(width: float, height: float) -> Figure:
  return Figure((width, height), layout='constrained')


def style(axes: Axes, x_name: str, y_name: str, grid: bool = True) -> None:
  """Gives axes the looks of all pictures here: names, quiet ticks, no frame.

  Args:
    axes: what to style.
    x_name: name of the horizontal axis with its unit; '' for none.
    y_name: name of the vertical axis with its unit; '' for none.
    grid: whether to draw lines across.
  """
  axes.set_facecolor('none')
  axes.set_xlabel(x_name, color=INK, fontsize=9.5, parse_math=False)
  axes.set_ylabel(y_name, color=INK, fontsize=9.5, parse_math=False)
  axes.tick_params(which='both', colors=INK, labelsize=8.5, length=0, labelcolor=INK)
  axes.spines[['top', 'right']].set_visible(False)
  axes.spines[['left', 'bottom']].set_color(RULE)
  if grid:
    axes.grid(axis='y', color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)


def level(axes: Axes, height: float, name: str) -> None:
  """Draws a dashed line across, its name at the right end: something to compare with.

  Args:
    axes: where.
    height: of the line.
    name: of what is there.
  """
  axes.axhline(height, color=INK, linewidth=1, linestyle=(0, (4, 3)))
  axes.annotate(
    name,
    (0.995, height),
    xycoords=('axes fraction', 'data'),
    xytext=(0, 3),
    textcoords='offset points',
    ha='right',
    fontsize=8.5,
    color=INK,
  )


def _check_labels(kind: str, given: Sequence[str], count: int) -> None:
  if len(given) != count:
    raise ValueError(
      f'{len(given)} {kind} labels were given for {count} {kind}s; give one for each'
    )
