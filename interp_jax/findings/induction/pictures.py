"""Pictures of induction: patterns, the transition, what ablation costs, composition."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
import numpy as np

from interp_jax.report.figures import level, style
from interp_jax.report.palette import INK, SERIES
from interp_jax.report.types import Numbers

_GREY = '#8d9094'
_DASHED: Any = (0, (4, 3))


def transition(
  steps: np.ndarray,
  loss: np.ndarray,
  matching: np.ndarray,
  copying: np.ndarray,
  chance: float,
) -> Figure:
  """Loss, prefix matching and copying over training, a line for each seed.

  Args:
    steps: Updates, `[N]`.
    loss: On repeated tokens, `[N, W]`.
    matching: Of the head that was best by then, `[N, W]`.
    copying: Of the same head, `[N, W]`.
    chance: Loss of a model that knows nothing.

  Returns:
    The figure: three panels over one axis.
  """
  figure = Figure((6.6, 5.2), layout='constrained')
  panels = figure.subplots(3, 1, sharex=True)
  rows = (
    ('loss on repeated\ntokens (nats)', loss),
    ('prefix matching', matching),
    ('copying score', copying),
  )
  for axes, (name, values) in zip(panels, rows, strict=True):
    for world in range(values.shape[1]):
      axes.plot(
        steps,
        values[:, world],
        color=SERIES[world % len(SERIES)],
        linewidth=1.8,
        label=f'seed {world}',
      )
    style(axes, '', name)
  level(panels[0], chance, 'ln V: knowing nothing')
  panels[0].set_ylim(bottom=0)
  panels[1].set_ylim(0, 1)
  panels[2].set_ylim(-1.05, 1.05)
  panels[1].legend(frameon=False, fontsize=8.5, labelcolor=INK, loc='upper left')
  panels[2].set_xlabel('updates', color=INK, fontsize=9.5)
  return figure


def grouped_bars(
  groups: Sequence[str],
  values: Mapping[str, Numbers],
  y_name: str,
  levels: Mapping[str, float] | None = None,
) -> Figure:
  """Bars side by side in groups, with their heights above them.

  Args:
    groups: Names of the groups, from the left.
    values: Name of a bar, the same in all groups → its height in each.
    y_name: Name of the vertical axis.
    levels: Name → height of a dashed line to compare with.

  Returns:
    The figure.
  """
  figure = Figure((max(4.2, 1.5 + 1.5 * len(groups)), 3.1), layout='constrained')
  axes = figure.add_subplot()
  width = 0.8 / len(values)
  for index, (name, heights) in enumerate(values.items()):
    places = np.arange(len(groups)) + (index - (len(values) - 1) / 2) * width
    colour = (_GREY, *SERIES)[index % (len(SERIES) + 1)]
    tops = np.asarray(heights)
    drawn = axes.bar(places, tops, 0.92 * width, color=colour, label=name)
    axes.bar_label(drawn, fmt='%.2f', fontsize=7.5, padding=2, color=INK)
  axes.set_xticks(range(len(groups)), list(groups), fontsize=9)
  axes.margins(y=0.12)
  style(axes, '', y_name)
  for name, height in (levels or {}).items():
    level(axes, height, name)
  figure.legend(
    loc='outside upper left',
    ncols=len(values),
    frameon=False,
    fontsize=8.5,
    labelcolor=INK,
  )
  return figure


def matching_against_loss(
  points: Mapping[str, tuple[Numbers, Numbers]], chance: float
) -> Figure:
  """Every model as a point: its loss on repeated tokens, its best prefix matching.

  Args:
    points: Kind of model → losses and scores, one for each seed.
    chance: Loss of a model that knows nothing.

  Returns:
    The figure.
  """
  figure = Figure((5.4, 3.6), layout='constrained')
  axes = figure.add_subplot()
  for index, (name, (losses, scores)) in enumerate(points.items()):
    axes.scatter(
      np.asarray(losses),
      np.asarray(scores),
      s=64,
      marker='osD^v'[index % 5],
      color=SERIES[index % len(SERIES)],
      label=name,
      zorder=3,
    )
  axes.axvline(chance, color=INK, linewidth=1, linestyle=_DASHED)
  axes.annotate(
    'ln V', (chance, 0.97), xytext=(-4, 0), textcoords='offset points',
    ha='right', va='top', fontsize=8.5, color=INK, xycoords=('data', 'axes fraction'),
  )  # fmt: skip
  axes.set_xlim(left=0)
  axes.set_ylim(0, 1)
  style(axes, 'loss on repeated tokens (nats)', 'best prefix-matching score')
  axes.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc='best')
  return figure
