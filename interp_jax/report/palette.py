"""The colours of figures and pages: safe for colour-blind readers, legible in grey.

Two colours are stand-ins: figures are drawn with `INK` and `RULE`, and the writer of
inline SVG swaps them for the page's own text and line colours, so that one picture is
legible on a light and on a dark page.
"""

from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
import numpy as np

from interp_jax.report.types import Number

INK = '#1b1c1d'
RULE = '#c9cacb'

# Okabe and Ito (2008), "Color Universal Design", reordered so that the first four are
# far apart in lightness too. Mid-tones: each keeps a contrast of at least 3 with both
# a white and a near-black page.
SERIES = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#8a7a00', '#6b6bd6')

# Blue and orange stay apart under every common colour blindness; lightness falls
# evenly on both sides of 0, so that size is readable in grey as well.
DIVERGING = LinearSegmentedColormap.from_list(
  'interp_jax.diverging',
  ('#084a91', '#2f7fc1', '#9cc7e4', '#f5f4f2', '#f8be85', '#e07b28', '#943f06'),
)


def centred_norm(low: Number, high: Number, floor: float = 1e-9) -> TwoSlopeNorm:
  """A norm that gives 0 the neutral colour and both sides the same scale.

  Args:
    low: the smallest value shown.
    high: the largest value shown.
    floor: least half-width, which keeps a map of zeros drawable.

  Returns:
    A norm from `-m` to `m`, `m` the larger of `|low|` and `|high|`.
  """
  limit = float(max(abs(low), abs(high), floor))
  return TwoSlopeNorm(0.0, vmin=-limit, vmax=limit)


def text_on(rgba: tuple[float, float, float, float]) -> str:
  """Black or white, whichever reads better on a colour (WCAG relative luminance)."""
  channels = np.asarray(rgba[:3])
  linear = np.where(
    channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
  )
  luminance = float(linear @ np.array([0.2126, 0.7152, 0.0722]))
  return '#000000' if luminance > 0.179 else '#ffffff'
