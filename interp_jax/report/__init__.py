"""Tables, figures and pages from plain arrays.

The room knows nothing of models or of JAX: numbers and strings come in, a figure or one
self-contained HTML page goes out. `figures` draws, `svg` makes a drawing part of a
page, `tables`, `contexts` and `cards` write the rest, `html` puts a page together,
`tour` is a page for a first look at a model, and `quickstart` fills it with what the
quickstart's stages leave.
"""

from interp_jax.report.bars import bars
from interp_jax.report.cards import FeatureCard, feature_card
from interp_jax.report.circuit import circuit_picture
from interp_jax.report.circuit_section import faithfulness_picture
from interp_jax.report.contexts import Snippet, chips, snippet, tidy, window
from interp_jax.report.feature import feature_picture
from interp_jax.report.figures import curves, heat_map, histogram
from interp_jax.report.glossary import glossary
from interp_jax.report.html import (
  Page,
  Section,
  Tile,
  definitions,
  figure,
  folded,
  heading,
  paragraph,
  render,
  side_by_side,
  write,
)
from interp_jax.report.labels import axis_labels, visible
from interp_jax.report.patching import PatchingView, patching_blocks
from interp_jax.report.quickstart import circuit_summary, quickstart_page, top_effects
from interp_jax.report.svg import to_png, to_svg
from interp_jax.report.tables import duration, number, pairs, percent, table
from interp_jax.report.tour import Tour, tour_page

__all__ = [
  'FeatureCard',
  'Page',
  'PatchingView',
  'Section',
  'Snippet',
  'Tile',
  'Tour',
  'axis_labels',
  'bars',
  'chips',
  'circuit_picture',
  'circuit_summary',
  'curves',
  'definitions',
  'duration',
  'faithfulness_picture',
  'feature_card',
  'feature_picture',
  'figure',
  'folded',
  'glossary',
  'heading',
  'heat_map',
  'histogram',
  'number',
  'pairs',
  'paragraph',
  'patching_blocks',
  'percent',
  'quickstart_page',
  'render',
  'side_by_side',
  'snippet',
  'table',
  'tidy',
  'to_png',
  'to_svg',
  'top_effects',
  'tour_page',
  'visible',
  'window',
  'write',
]
