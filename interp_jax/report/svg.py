"""Figures as text: inline SVG that takes the page's colours and fonts, or a PNG.

Matplotlib writes a stand-alone XML document. Inside an HTML page it must lose its
header, must not share ids with the page's other pictures, and should follow the page
when that turns dark. Nothing here touches pyplot or leaves `rcParams` changed.
"""

import base64
import hashlib
import io
import re

from markupsafe import Markup, escape
import matplotlib
from matplotlib.figure import Figure

from interp_jax.report.palette import INK, RULE

# A group whose id starts so becomes a group with a tooltip (see `tooltip`).
_TIP = 'tip:'

_SVG_RC = {
  'svg.fonttype': 'none',  # text stays text: small, selectable, in the page's font
  'svg.hashsalt': 'interp_jax',  # the same figure gives the same bytes
  'font.family': ['DejaVu Sans'],
}


def tooltip(text: str) -> str:
  """The `gid` to give an artist so that the page shows `text` when it is pointed at."""
  return _TIP + text


def to_svg(figure: Figure, alt: str) -> Markup:
  """Writes a figure as one inline `<svg>` element.

  Args:
    figure: drawn with `palette.INK` and `palette.RULE` where the page's own colours
      are to be taken.
    alt: what the picture shows, for a reader who does not see it.

  Returns:
    The element: no XML header, no reference outside itself, ids of its own, as wide as
    the figure at most and shrinking with the page.

  Raises:
    ValueError: when `alt` is blank.
  """
  _check_alt(alt)
  buffer = io.StringIO()
  with matplotlib.rc_context(_SVG_RC):
    figure.savefig(buffer, format='svg', transparent=True, metadata={'Date': None})
  text = buffer.getvalue()
  text = text[text.index('<svg') :]
  text = re.sub(r'<metadata>.*?</metadata>', '', text, flags=re.DOTALL)
  text = _tooltips(text)
  text = _own_ids(text, hashlib.sha256((alt + text).encode()).hexdigest()[:8])
  text = re.sub(INK, 'currentColor', text, flags=re.IGNORECASE)
  text = re.sub(RULE, 'var(--rule, #c9cacb)', text, flags=re.IGNORECASE)
  return Markup(_opening_tag(text, alt).strip())


def to_png(figure: Figure, alt: str, dpi: int = 144) -> Markup:
  """Writes a figure as an `<img>` with its PNG inside: for pictures of many marks.

  Args:
    figure: what to draw; its background is made white.
    alt: what the picture shows, for a reader who does not see it.
    dpi: pixels per inch.

  Returns:
    The element, its source a `data:` address.

  Raises:
    ValueError: when `alt` is blank.
  """
  _check_alt(alt)
  buffer = io.BytesIO()
  with matplotlib.rc_context({'font.family': ['DejaVu Sans']}):
    figure.savefig(buffer, format='png', dpi=dpi, facecolor='white')
  data = base64.b64encode(buffer.getvalue()).decode()
  width = round(figure.get_figwidth() * 96)
  return Markup('<img src="data:image/png;base64,{}" alt="{}" width="{}">').format(
    data, alt, width
  )


def _check_alt(alt: str) -> None:
  if not alt.strip():
    raise ValueError(
      'a figure was given a blank alt text; say in a sentence what it shows'
    )


def _tooltips(text: str) -> str:
  """Turns `<g id="tip:...">` into a group with a `<title>`, which browsers show."""
  return re.sub(rf'<g id="{_TIP}([^"]*)">', r'<g><title>\1</title>', text)


def _own_ids(text: str, prefix: str) -> str:
  """Keeps only the ids that are referred to, under a prefix of this figure's own."""
  used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text))
  text = re.sub(
    r' id="([^"]*)"',
    lambda m: f' id="{prefix}-{m[1]}"' if m[1] in used else '',
    text,
  )
  return re.sub(r'(url\(#|href="#)', rf'\g<1>{prefix}-', text)


def _opening_tag(text: str, alt: str) -> str:
  """Replaces fixed sizes by a width that shrinks with the page; adds the alt text."""
  tag, rest = text.split('>', 1)
  points = re.search(r' width="([\d.]+)pt"', tag)
  view = re.search(r'viewBox="([^"]+)"', tag)
  assert points is not None  # Matplotlib writes
  assert view is not None  # both.
  width, box = float(points[1]) * 96 / 72, view[1]
  return (
    f'<svg role="img" aria-label="{escape(alt)}" viewBox="{box}" '
    f'xmlns:xlink="http://www.w3.org/1999/xlink" '
    f'style="width:{width:.0f}px;max-width:100%;height:auto">{rest}'
  )
