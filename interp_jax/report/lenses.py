"""Pictures of what lenses see: patterns of attention, predictions by layer, norms.

Layers go up, positions go right, and tokens name the positions.
"""

from collections.abc import Sequence
import math

from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
import numpy as np

from interp_jax.report import labels
from interp_jax.report.palette import DIVERGING, INK, RULE, text_on
from interp_jax.report.svg import tooltip
from interp_jax.report.types import Number

# From the neutral colour of other maps to their darkest blue: a size, without a sign.
SEQUENTIAL = LinearSegmentedColormap.from_list(
  'interp_jax.sequential', [DIVERGING(x) for x in np.linspace(0.5, 0.0, 9)]
)

_MONO = {'fontfamily': 'DejaVu Sans Mono', 'parse_math': False}
# Beyond so many tokens, names of positions cannot be read beside each other.
_MOST_NAMES = 48


def attention_patterns(
  patterns: Float[np.ndarray, 'heads T S'],
  tokens: Sequence[str],
  names: Sequence[str],
  *,
  columns: int = 4,
  limit: Number = 1.0,
) -> Figure:
  """Attention of some heads, a map for each: queries go down, keys go right.

  Args:
    patterns: one row for each query.
    tokens: the text, which names queries and keys.
    names: one for each head, for example `2.1`.
    columns: most maps in a row.
    limit: the attention that gets the darkest colour.

  Returns:
    The figure.

  Raises:
    ValueError: when names or tokens do not match the patterns.
  """
  heads, length, keys = patterns.shape
  _check('names', names, heads)
  _check('tokens', tokens, length)
  _check('tokens', tokens, keys)
  columns = min(columns, heads)
  rows = math.ceil(heads / columns)
  side = float(np.clip(0.135 * length, 1.6, 3.6))
  shown = labels.axis_labels(tokens, 10)
  margin = 0.062 * max(map(len, shown)) + 0.1
  figure = Figure(
    (columns * side + margin + 0.9, rows * (side + 0.3) + margin), layout='constrained'
  )
  grid = np.ravel(figure.subplots(rows, columns, squeeze=False))
  norm = Normalize(0, float(limit))
  for index, axes in enumerate(grid):
    if index >= heads:
      axes.set_axis_off()
      continue
    axes.imshow(patterns[index], cmap=SEQUENTIAL, norm=norm, aspect='equal')
    axes.set_title(names[index], fontsize=10, color=INK, pad=4)
    lowest = index + columns >= heads
    _name_positions(axes, shown, below=lowest, beside=index % columns == 0)
  _bar(figure, list(grid[:heads]), norm, 'attention')
  return figure


def prediction_table(
  predictions: Sequence[Sequence[str]],
  probabilities: Float[np.ndarray, 'depths T'],
  tokens: Sequence[str],
  depth_names: Sequence[str],
) -> Figure:
  """What a lens predicts at each depth and position: the token, its probability.

  A prediction that is the model's own, the last row's, is written bold.

  Args:
    predictions: the most likely token by depth and position, first depth first.
    probabilities: its probability.
    tokens: the text; the prediction is of what follows each.
    depth_names: one for each depth.

  Returns:
    The figure; each cell carries its number as a tooltip.

  Raises:
    ValueError: when labels and values do not match.
  """
  depths, length = probabilities.shape
  _check('tokens', tokens, length)
  _check('names of depths', depth_names, depths)
  _check('rows of predictions', predictions, depths)
  shown = [labels.axis_labels(row, 8) for row in predictions]
  width = 0.07 * max(max(map(len, row)) for row in shown) + 0.14
  below = labels.axis_labels(tokens, 12)
  figure = Figure(
    (width * length + 2.0, 0.3 * depths + 0.085 * max(map(len, below)) + 0.5),
    layout='constrained',
  )
  axes, norm = figure.add_subplot(), Normalize(0, 1)
  for (depth, place), value in np.ndenumerate(probabilities):
    colour, text = SEQUENTIAL(norm(value)), shown[depth][place]
    same = predictions[depth][place] == predictions[-1][place]
    _cell(axes, place, depth, colour, f'{depth_names[depth]}, {text}: {value:.3f}')
    axes.text(
      place,
      depth,
      text,
      ha='center',
      va='center',
      fontsize=8,
      color=text_on(colour),
      fontweight='bold' if same else 'normal',
      **_MONO,
    )
  _finish(axes, below, depth_names, 'token that has been read')
  _bar(figure, [axes], norm, 'probability')
  return figure


def stream_norms(
  norms: Float[np.ndarray, 'depths T'],
  tokens: Sequence[str],
  depth_names: Sequence[str],
) -> Figure:
  """Lengths of the residual stream by depth and position, on a logarithmic scale.

  Args:
    norms: the lengths, above 0.
    tokens: the text.
    depth_names: one for each depth.

  Returns:
    The figure; each cell carries its number as a tooltip.

  Raises:
    ValueError: when labels and values do not match, or a length is not above 0.
  """
  depths, length = norms.shape
  _check('tokens', tokens, length)
  _check('names of depths', depth_names, depths)
  if not norms.min() > 0:
    raise ValueError(f'the smallest norm is {norms.min()}; all must be above 0')
  names = labels.axis_labels(tokens, 12)
  cell = float(np.clip(11.0 / length, 0.19, 0.5))
  figure = Figure(
    (cell * length + 2.0, 0.3 * depths + 0.085 * max(map(len, names)) + 0.5),
    layout='constrained',
  )
  axes = figure.add_subplot()
  low, high = float(norms.min()), float(norms.max())
  ticks = np.geomspace(low, max(high, 1.01 * low), 4)
  norm = LogNorm(ticks[0], ticks[-1])
  for (depth, place), value in np.ndenumerate(norms):
    colour = SEQUENTIAL(norm(value))
    _cell(
      axes, place, depth, colour, f'{depth_names[depth]}, {names[place]}: {value:.4g}'
    )
    if cell >= 0.36:
      axes.text(
        place,
        depth,
        f'{value:.3g}' if value < 1000 else f'{value:.0f}',
        ha='center',
        va='center',
        fontsize=7.5,
        color=text_on(colour),
      )
  _finish(axes, names, depth_names, 'token')
  _bar(figure, [axes], norm, 'length of the stream', ticks)
  return figure


def _cell(axes: Axes, x: int, y: int, colour: tuple, tip: str) -> None:
  square = Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, facecolor=colour, linewidth=0)
  square.set_gid(tooltip(tip))
  axes.add_patch(square)


def _finish(
  axes: Axes, tokens: Sequence[str], depths: Sequence[str], name: str
) -> None:
  axes.set(xlim=(-0.5, len(tokens) - 0.5), ylim=(-0.5, len(depths) - 0.5))
  axes.set_facecolor('none')
  axes.set_xticks(range(len(tokens)), tokens, fontsize=8.5, rotation=90, **_MONO)
  axes.set_yticks(range(len(depths)), depths, fontsize=9, parse_math=False)
  axes.set_xlabel(name, color=INK, fontsize=9.5)
  axes.tick_params(length=0, labelcolor=INK)
  axes.spines[:].set_visible(False)


def _name_positions(
  axes: Axes, tokens: Sequence[str], below: bool, beside: bool
) -> None:
  readable = len(tokens) <= _MOST_NAMES
  places = range(len(tokens)) if readable else []
  size = 7.5 if len(tokens) <= 24 else 6
  for show, axis, turn in ((below, axes.xaxis, 90), (beside, axes.yaxis, 0)):
    axis.set_ticks(
      places,
      tokens if show and readable else [''] * len(places),
      fontsize=size,
      rotation=turn,
      **_MONO,
    )
  axes.tick_params(length=0, labelcolor=INK)
  axes.spines[:].set_color(RULE)


def _bar(
  figure: Figure,
  axes: list[Axes],
  norm: Normalize,
  name: str,
  ticks: np.ndarray | None = None,
) -> None:
  # Of many maps, beside the first rows: a bar as high as all of them says no more.
  tall = figure.get_figheight() > 4
  bar = figure.colorbar(
    ScalarMappable(norm, SEQUENTIAL),
    ax=axes,
    pad=0.015,
    aspect=16,
    fraction=0.05,
    shrink=2.2 / figure.get_figheight() if tall else 1.0,
    anchor=(0.0, 1.0) if tall else (0.0, 0.5),
  )
  assert bar.solids is not None  # It is there for a filled map.
  bar.solids.set_rasterized(True)  # 256 outlined strips would show seams in print
  bar.outline.set_visible(False)
  bar.set_label(name, color=INK, fontsize=9)
  if ticks is not None:
    bar.set_ticks(list(ticks), labels=[f'{tick:.3g}' for tick in ticks])
    bar.minorticks_off()
  bar.ax.tick_params(which='both', colors=INK, labelsize=8, length=2)


def _check(kind: str, given: Sequence, count: int) -> None:
  if len(given) != count:
    raise ValueError(f'{len(given)} {kind} were given for {count}; give one for each')
