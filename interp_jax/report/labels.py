"""Tokens as labels: whitespace made visible, nothing that a font cannot draw.

Source code is full of tokens that are nothing but spaces or a line break. On an axis
they would be blank, so they are written with a sign of their own.
"""

from collections.abc import Sequence
import functools
import re

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

_SIGNS = {' ': '·', '\n': '↵', '\t': '⇥', '\r': '␍'}


def visible(token: str, limit: int = 24) -> str:
  """A token on one line with its whitespace visible.

  A space becomes `·`, a line break `↵`, a tab `⇥`; of a run of more than four spaces
  the length is given instead (`·×8`). Other characters that do not print are written
  as escapes.

  Args:
    token: the token's text; may be empty.
    limit: longest label in characters; a longer one is cut with an ellipsis.

  Returns:
    The label, `∅` for an empty token.
  """
  if not token:
    return '∅'
  body = token.lstrip(' ')
  spaces = len(token) - len(body)
  lead = '·' * spaces if spaces <= 4 else f'·×{spaces}'
  shown = lead + ''.join(_visible_character(c) for c in body)
  return shown if len(shown) <= limit else shown[: limit - 1] + '…'


def _visible_character(character: str) -> str:
  if character in _SIGNS:
    return _SIGNS[character]
  return character if character.isprintable() else ascii(character)[1:-1]


def axis_labels(tokens: Sequence[str], limit: int = 14) -> list[str]:
  """Token labels that the figures' font can draw; others become escapes."""
  return [_drawable(visible(token, limit)) for token in tokens]


def one_line(token: str) -> str:
  """A token's text within a line: `↵` for line breaks, several spaces as one."""
  return _drawable(re.sub(' {2,}', ' ', token.replace('\n', '↵').replace('\t', '⇥')))


def _drawable(text: str) -> str:
  known = _mono_characters()
  return ''.join(c if ord(c) in known else ascii(c)[1:-1] for c in text)


@functools.cache
def _mono_characters() -> frozenset[int]:
  path = font_manager.findfont('DejaVu Sans Mono')
  return frozenset(FT2Font(path).get_charmap())
