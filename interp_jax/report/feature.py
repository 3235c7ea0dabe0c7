"""A dictionary feature as a picture: what it raises, and where it is active.

Contexts stand below each other with their strongest tokens in one column, as in a
concordance, so that what they have in common can be seen at a glance.
"""

from collections.abc import Sequence

from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
import numpy as np

from interp_jax.report import labels
from interp_jax.report.cards import FeatureCard
from interp_jax.report.contexts import Snippet
from interp_jax.report.palette import DIVERGING, INK, text_on
from interp_jax.report.svg import tooltip
from interp_jax.report.tables import number, percent
from interp_jax.report.types import Number

_SIZE = 9.0  # Of letters, in points.
_ADVANCE = 0.602 * _SIZE / 72  # Width of one in inches: DejaVu Sans Mono is 0.602 em.
_ROW = 0.235  # Height of a line in inches.
_MONO = {'fontfamily': 'DejaVu Sans Mono', 'fontsize': _SIZE, 'parse_math': False}
_MARGIN = 9  # Letters that names of lines take, at the left.


def feature_picture(
  feature: FeatureCard, *, before: int = 54, after: int = 30
) -> Figure:
  """A feature's facts, the tokens that it raises and lowers, and its contexts.

  Args:
    feature: what to show. All its contexts are tinted on the scale of its maximum.
    before: letters of a context left of its strongest token.
    after: letters from there on.

  Returns:
    The figure; each tinted token carries its activation as a tooltip.

  Raises:
    ValueError: when the feature has no contexts.
  """
  if not feature.snippets:
    raise ValueError(
      f'feature {feature.index} has no contexts to draw; give at least one snippet'
    )
  width, rows = _MARGIN + before + after, len(feature.snippets) + 4.5
  figure = Figure((width * _ADVANCE, rows * _ROW))
  axes = figure.add_axes((0, 0, 1, 1))
  axes.set(xlim=(0, width), ylim=(rows, 0))
  axes.set_axis_off()
  _heading(axes, feature)
  _tokens(axes, 1.7, 'raises', feature.promoted, feature.promoted_logits, width)
  _tokens(axes, 2.8, 'lowers', feature.suppressed, feature.suppressed_logits, width)
  for row, snippet in enumerate(feature.snippets):
    _context(axes, row + 4.2, snippet, feature.maximum, before, after)
  return figure


def _heading(axes: Axes, feature: FeatureCard) -> None:
  facts = [
    f'active on {percent(feature.density, 2)} of tokens',
    f'largest activation {number(feature.maximum)}',
    *([feature.note] if feature.note else []),
  ]
  style = {'va': 'center', 'color': INK, 'parse_math': False}
  axes.text(1, 0.7, f'Feature {feature.index}', fontsize=12, weight='bold', **style)
  axes.text(22, 0.7, ' · '.join(facts), fontsize=_SIZE, **style)


def _tokens(
  axes: Axes,
  row: float,
  name: str,
  tokens: Sequence[str],
  logits: Float[np.ndarray, ' n'],
  width: int,
) -> None:
  """A line of tokens with their logits, as many as there is room for."""
  axes.text(1, row, name, va='center', color=INK, **_MONO)
  place = _MARGIN
  for token, value in zip(tokens, logits, strict=True):
    text = f'{labels.axis_labels([token])[0]} {value:+.1f}'.replace('-', '−')
    if place + len(text) + 1 > width:
      break
    shade = DIVERGING(0.64 if value > 0 else 0.36)
    _letters(axes, place, row, f' {text} ', shade, '')
    place += len(text) + 3


def _context(
  axes: Axes, row: float, snippet: Snippet, scale: Number, before: int, after: int
) -> None:
  """One context in one line, its strongest token at the same place as the others'."""
  texts = [labels.one_line(token) for token in snippet.tokens]
  right = _MARGIN + before + after
  place = _MARGIN + before - sum(map(len, texts[: snippet.peak]))
  for index, (text, value) in enumerate(zip(texts, snippet.values, strict=True)):
    start, place = place, place + len(text)
    shown = text[max(_MARGIN - start, 0) : max(right - start, 0)]
    if not shown:
      continue
    strength = float(np.clip(value / scale, 0, 1)) if scale > 0 else 0.0
    shade = DIVERGING(0.5 + 0.45 * strength) if strength >= 0.02 else None
    tip = f'{text}: {number(float(value))}' if shade else ''
    peak = index == snippet.peak
    _letters(axes, max(start, _MARGIN), row, shown, shade, tip, peak)


def _letters(
  axes: Axes,
  place: int,
  row: float,
  text: str,
  shade: tuple[float, float, float, float] | None,
  tip: str,
  peak: bool = False,
) -> None:
  if shade or peak:
    box = Rectangle(
      (place, row - 0.44),
      len(text),
      0.88,
      facecolor=shade or 'none',
      edgecolor=INK if peak else 'none',
      linewidth=1.0 if peak else 0,
    )
    if tip:
      box.set_gid(tooltip(tip))
    axes.add_patch(box)
  colour = text_on(shade) if shade else INK
  weight = 'bold' if peak else 'normal'
  axes.text(
    place, row, text, va='center_baseline', color=colour, weight=weight, **_MONO
  )
