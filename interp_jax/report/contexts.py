"""Text with the activation of each token behind it, and tokens as chips.

What a dictionary feature means is read off the places where it is strongest. A snippet
shows such a place as source code: line breaks and indentation as they are, each token
tinted by its activation, the strongest token outlined, the exact numbers as tooltips.
"""

from collections.abc import Sequence
import dataclasses
import re

from jaxtyping import Float
from markupsafe import Markup, escape
import numpy as np

from interp_jax.report.labels import visible
from interp_jax.report.tables import number
from interp_jax.report.types import Number


@dataclasses.dataclass(frozen=True)
class Snippet:
  """A stretch of text around a place of interest.

  Attributes:
    tokens: the tokens' texts, in order; joined, they are the text.
    values: one activation per token, 0 where the feature is off.
    peak: index of the token that the snippet is about.
    source: where the text is from, for example a file's name.
  """

  tokens: Sequence[str]
  values: Float[np.ndarray, ' T']
  peak: int
  source: str = ''

  def __post_init__(self):
    if len(self.tokens) != len(self.values):
      raise ValueError(
        f'a snippet has {len(self.tokens)} tokens and {len(self.values)} values; '
        'give one value for each token'
      )
    if not 0 <= self.peak < len(self.tokens):
      raise ValueError(
        f'peak {self.peak} is outside the {len(self.tokens)} tokens of the snippet'
      )


def window(
  tokens: Sequence[str],
  values: Float[np.ndarray, ' T'],
  peak: int,
  *,
  before: int = 24,
  after: int = 10,
  source: str = '',
) -> Snippet:
  """Cuts a snippet out of a longer text around the token of interest.

  Args:
    tokens: the whole text's tokens.
    values: one activation per token.
    peak: index of the token that the snippet is about.
    before: most tokens shown before it.
    after: most tokens shown after it.
    source: where the text is from.

  Returns:
    The snippet; shorter where the text ends.
  """
  first = max(0, peak - before)
  last = min(len(tokens), peak + after + 1)
  return Snippet(
    tuple(tokens[first:last]), np.asarray(values)[first:last], peak - first, source
  )


def snippet(item: Snippet, scale: Number) -> Markup:
  """Writes a snippet, tinted on a scale that is shared with others.

  Args:
    item: the text and its activations.
    scale: the activation of the strongest tint, for example the feature's largest in
      the data; all contexts of a feature should share it.

  Returns:
    The element. All text is escaped.
  """
  spans = Markup('').join(
    _token(token, float(value), float(scale), index == item.peak)
    for index, (token, value) in enumerate(zip(item.tokens, item.values, strict=True))
  )
  return Markup(
    '<div class="snippet"><div class="source"><span>{}</span>'
    '<span class="value">{}</span></div><pre class="code">{}</pre></div>'
  ).format(item.source, number(float(item.values[item.peak])), spans)


def _token(token: str, value: float, scale: float, is_peak: bool) -> Markup:
  strength = min(max(value / scale, 0.0), 1.0) if scale > 0 else 0.0
  if strength < 0.005 and not is_peak:
    return _code(token)
  return Markup('<span class="{}" style="--a:{:.2f}" title="{}">{}</span>').format(
    'tok peak' if is_peak else 'tok',
    strength,
    f'{visible(token)}   {number(value)}',
    _code(token),
  )


def _code(token: str) -> Markup:
  """A token's text in a `<pre>`: as it is, with a faint sign before a line break."""
  mark = Markup('<span class="nl" aria-hidden="true">↵</span>\n')
  text = ''.join(c if c.isprintable() or c in '\n\t' else ascii(c)[1:-1] for c in token)
  return mark.join(escape(part) for part in text.split('\n'))


def chips(
  tokens: Sequence[str], values: Float[np.ndarray, ' n'], *, kind: str
) -> Markup:
  """Tokens with a number each, as a row of small labels.

  Args:
    tokens: the tokens' texts.
    values: one number per token, shown with its sign.
    kind: `'up'` for promoted, `'down'` for suppressed, `''` for neither: the colour.

  Returns:
    The list element.

  Raises:
    ValueError: when `kind` is another word.
  """
  if kind not in ('up', 'down', ''):
    raise ValueError(f"kind is {kind!r}; it must be 'up', 'down' or ''")
  items = Markup('').join(
    Markup('<li><code>{}</code> <span>{}</span></li>').format(
      visible(token), f'{value:+.2f}'.replace('-', '−')
    )
    for token, value in zip(tokens, values, strict=True)
  )
  return Markup('<ul class="chips {}">{}</ul>').format(kind, items)


def tidy(item: Snippet) -> Snippet:
  """Makes a snippet of source code start at a line and close to the left edge.

  The part of a line that the cut left at the start is dropped unless the token of
  interest stands in it, blank lines at both ends go, and so does the indentation that
  all lines share.

  Args:
    item: any snippet.

  Returns:
    The same tokens in the same order, some of them shorter or empty, with the same
    activations.
  """
  peak_line = ''.join(item.tokens[: item.peak]).count('\n')
  text = _trim(''.join(item.tokens), peak_line)
  return dataclasses.replace(item, tokens=tuple(_redistribute(item.tokens, text)))


def _trim(text: str, peak_line: int) -> list[str | None]:
  """One entry per character: itself, or None where it is to go."""
  # Not splitlines: a form feed, common in old sources, is no line break here.
  lines = [line for line in re.split(r'(?<=\n)', text) if line]
  first = 1 if peak_line >= 1 else 0
  last = len(lines)
  while first < peak_line and not lines[first].strip():
    first += 1
  while last > max(peak_line + 1, first) and not lines[last - 1].strip():
    last -= 1
  body = [line for line in lines[first:last] if line.strip()]
  shared = min((len(line) - len(line.lstrip(' ')) for line in body), default=0)
  if first == 0:
    shared = 0  # The first line may begin anywhere in its line.
  kept: list[str | None] = []
  for index, line in enumerate(lines):
    inside = first <= index < last
    for place, character in enumerate(line):
      indent = place < shared and character == ' '
      kept.append(character if inside and not indent else None)
  return kept


def _redistribute(tokens: Sequence[str], kept: list[str | None]) -> list[str]:
  """Deals the kept characters out to the tokens they came from."""
  parts, at = [], 0
  for token in tokens:
    piece = kept[at : at + len(token)]
    parts.append(''.join(c for c in piece if c is not None))
    at += len(token)
  return parts
