"""The pictures: arrows of features, matrices, the phase diagram, the plateaus."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Patch, Polygon
import numpy as np

from interp_jax.findings.superposition import measures
from interp_jax.report.palette import DIVERGING, INK, RULE, SERIES

# One colour for each feature, in the order of importance.
FEATURES = SERIES
PHASE_COLOURS = {'drop': '#d9dadb', 'dedicate': SERIES[0], 'superpose': SERIES[1]}
FRACTIONS = {'3/4': 3 / 4, '2/3': 2 / 3, '1/2': 1 / 2, '2/5': 2 / 5, '3/8': 3 / 8}


def arrows(axes: Axes, W: np.ndarray, limit: float = 1.35) -> None:
  """Draws the directions W_i `[2, n]` of features from the origin.

  Args:
    axes: where.
    W: the weights.
    limit: half of the side of the picture.
  """
  axes.add_patch(Circle((0, 0), 1, fill=False, color=RULE, linewidth=0.8))
  for index, (x, y) in enumerate(W.T):
    if np.hypot(x, y) < 0.1:
      continue  # Not represented; its dot would hide where the others begin.
    colour = FEATURES[index % len(FEATURES)]
    axes.plot([0, x], [0, y], color=colour, linewidth=2, solid_capstyle='round')
    axes.plot(x, y, 'o', color=colour, markersize=6)
  axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect='equal')
  _bare(axes)


def pentagons(W: np.ndarray, columns: int = 5) -> Figure:
  """Instances `[instances, 2, 5]` side by side, their tips joined.

  Args:
    W: the weights.
    columns: how many to a row, at most two rows.
  """
  shown = W[: 2 * columns]
  rows = -(-len(shown) // columns)
  figure = Figure((1.6 * columns, 1.6 * rows), layout='constrained')
  for index, one in enumerate(shown):
    axes = figure.add_subplot(rows, columns, index + 1)
    order = np.argsort(np.arctan2(one[1], one[0]))
    shape = Polygon(one.T[order], facecolor=SERIES[0], alpha=0.12, linewidth=0)
    axes.add_patch(shape)
    arrows(axes, one)
  return figure


def sweep(
  densities: np.ndarray, W: np.ndarray, linear: np.ndarray, columns: int = 6
) -> Figure:
  """From dense to sparse: arrows, `W^T W`, and the linear control.

  Args:
    densities: `[points]`.
    W: of the ReLU model, `[points, 2, 5]`.
    linear: of the linear model, `[points, 2, 5]`.
    columns: how many points to show.
  """
  chosen = np.unique(np.linspace(0, len(densities) - 1, columns).round().astype(int))
  figure = Figure((1.4 * len(chosen), 4.7), layout='constrained')
  grid = figure.subplots(3, len(chosen), squeeze=False)
  for column, at in enumerate(chosen):
    arrows(grid[0, column], W[at])
    gram = W[at].T @ W[at]
    grid[1, column].imshow(gram, cmap=DIVERGING, vmin=-1.25, vmax=1.25)
    _bare(grid[1, column])
    arrows(grid[2, column], linear[at])
    title = f'present {_percent(densities[at])}'
    grid[0, column].set_title(title, fontsize=9, color=INK)
  for axes, name in zip(grid[:, 0], ('ReLU', 'ReLU: WᵀW', 'linear'), strict=True):
    axes.set_ylabel(name, fontsize=9.5, color=INK)
  return figure


def phases(
  density: np.ndarray, importance: np.ndarray, trained: np.ndarray, theory: np.ndarray
) -> Figure:
  """The phase diagram beside the one of the closed forms.

  Args:
    density: of each column, rising.
    importance: of the second feature in each row, rising.
    trained: names of phases, `[rows, columns]`.
    theory: the same by least closed-form loss.
  """
  figure = Figure((7.2, 4.0), layout='constrained')
  left, right = figure.subplots(1, 2, sharey=True)
  for axes, cells, title in (
    (left, trained, 'trained'),
    (right, theory, 'least closed-form loss'),
  ):
    codes = np.select([cells == name for name in PHASE_COLOURS], range(3), np.nan)
    # Dense on the left, as in the paper.
    axes.imshow(
      codes[:, ::-1],
      cmap=ListedColormap(list(PHASE_COLOURS.values())),
      vmin=-0.5,
      vmax=2.5,
      origin='lower',
    )
    for line in np.arange(len(density) - 1) + 0.5:
      axes.axhline(line, color='white', linewidth=1)
      axes.axvline(line, color='white', linewidth=1)
    ticks = np.arange(0, len(density), max((len(density) - 1) // 4, 1))
    axes.set_xticks(ticks, [_percent(p) for p in density[::-1][ticks]])
    axes.set_yticks(ticks, [f'{r:.2g}×' for r in importance[ticks]])
    axes.set_title(title, fontsize=10, color=INK)
    axes.set_xlabel('how often features are present', fontsize=9.5, color=INK)
    axes.tick_params(colors=INK, labelsize=8.5, length=0)
    axes.spines[:].set_visible(False)
  left.set_ylabel('importance of the second feature', fontsize=9.5, color=INK)
  names = {
    'drop': 'second feature dropped',
    'dedicate': 'it takes the dimension',
    'superpose': 'both, as opposites',
  }
  figure.legend(
    handles=[Patch(color=PHASE_COLOURS[name], label=names[name]) for name in names],
    loc='outside lower center',
    ncols=3,
    frameon=False,
    fontsize=9,
    labelcolor=INK,
  )
  return figure


def dimensionality(inverse: np.ndarray, W: np.ndarray) -> Figure:
  """D_i of every represented feature, over sparsities, and the fractions of shapes.

  Args:
    inverse: `1 / (1 - S)`, `[points]`.
    W: the weights, `[points, m, n]`.
  """
  figure = Figure((7.2, 4.0), layout='constrained')
  axes = figure.add_subplot()
  for name, height in FRACTIONS.items():
    axes.axhline(height, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.annotate(
      name,
      (1.005, height),
      xycoords=('axes fraction', 'data'),
      va='top' if name == '3/8' else 'bottom' if name == '2/5' else 'center',
      fontsize=9,
      color=INK,
    )
  spread = np.random.default_rng(0)  # Only so that points do not hide each other.
  for x, one in zip(inverse, W, strict=True):
    values = measures.dimensionality(one)[measures.represented(one)]
    places = x * np.exp(spread.uniform(-0.06, 0.06, len(values)))
    axes.plot(
      places, values, 'o', color=SERIES[0], markersize=3.5, alpha=0.35, linewidth=0
    )
  line = measures.dimensions_per_feature(W)
  axes.plot(inverse, line, color=SERIES[1], linewidth=1.8, label='m / ‖W‖²')
  axes.plot([], [], 'o', color=SERIES[0], markersize=4, label='one feature')
  axes.set_xscale('log')
  axes.set_xticks(_ticks(inverse), [f'{tick:g}' for tick in _ticks(inverse)])
  axes.minorticks_off()
  axes.set_ylim(0, 1.05)
  axes.set_xlabel('1 / (1 − S): sparser to the right', fontsize=9.5, color=INK)
  axes.set_ylabel('dimensions per feature', fontsize=9.5, color=INK)
  axes.tick_params(colors=INK, labelsize=8.5, length=0)
  axes.spines[['top', 'right']].set_visible(False)
  axes.spines[['left', 'bottom']].set_color(RULE)
  axes.legend(frameon=False, fontsize=9, labelcolor=INK)
  return figure


def _ticks(inverse: np.ndarray) -> Sequence[int]:
  return [
    tick for tick in (1, 2, 3, 5, 10, 20, 50, 100) if tick <= inverse.max() * 1.01
  ]


def _percent(share: float) -> str:
  return f'{100 * share:.0f} %' if share > 0.095 else f'{100 * share:.2g} %'


def _bare(axes: Axes) -> None:
  axes.set_xticks([])
  axes.set_yticks([])
  axes.spines[:].set_visible(False)
