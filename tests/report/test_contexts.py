"""Text with activations: escaped, with its whitespace, tinted in proportion."""

import html
from html.parser import HTMLParser
import re

import numpy as np
import pytest

from interp_jax import report

EVIL = ['<script>alert(1)</script>', '"><img src=x onerror=y>', "'", '&amp;', '</pre>']


class Tags(HTMLParser):
  """Collects tags and text."""

  def __init__(self):
    super().__init__()
    self.tags, self.text = [], ''

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)

  def handle_data(self, data):
    self.text += data


def parse(text):
  parser = Tags()
  parser.feed(str(text))
  return parser


def test_token_text_cannot_become_markup():
  item = report.Snippet(EVIL, np.linspace(0, 1, len(EVIL)), 2, source=EVIL[0])
  for text in (
    report.snippet(item, 1.0),
    report.chips(EVIL, np.zeros(len(EVIL)), kind='up'),
  ):
    assert set(parse(text).tags) <= {'div', 'span', 'pre', 'ul', 'li', 'code'}


def test_the_text_shown_is_the_text_given():
  tokens = ['def', ' f', '(', 'x', ')', ':', '\n    ', 'return', ' "<b>"', '\n']
  item = report.Snippet(tokens, np.ones(len(tokens)), 1)
  code = re.search(r'<pre class="code">(.*)</pre>', report.snippet(item, 1.0), re.S)[1]
  shown = html.unescape(re.sub(r'<[^>]+>', '', code)).replace('↵', '')
  assert shown == ''.join(tokens)


def test_characters_that_do_not_print_are_shown_as_escapes():
  item = report.Snippet(['\x00', '\x1b[0m', '\u202e'], np.zeros(3), 0)
  text = report.snippet(item, 1.0)
  assert r'\x00' in text
  assert r'\x1b' in text
  assert r'\u202e' in text


def test_tint_grows_with_activation_and_stays_within_the_scale():
  item = report.Snippet(list('abcde'), np.array([0.0, 1.0, 2.0, 4.0, 9.0]), 4)
  tints = [float(a) for a in re.findall(r'--a:([\d.]+)', report.snippet(item, 4.0))]
  assert tints == [0.25, 0.5, 1.0, 1.0]


def test_a_feature_that_is_never_active_can_be_shown():
  item = report.Snippet(['a'], np.zeros(1), 0)
  assert '--a:0.00' in report.snippet(item, 0.0)


def test_a_window_keeps_the_token_of_interest():
  tokens = [str(i) for i in range(20)]
  for peak in (0, 7, 19):
    item = report.window(tokens, np.arange(20.0), peak, before=3, after=2)
    assert item.tokens[item.peak] == str(peak)
    assert item.values[item.peak] == peak
    assert len(item.tokens) <= 6


def test_tidying_never_touches_what_is_not_blank_from_the_first_whole_line_on():
  rng = np.random.default_rng(0)
  pieces = ['\n', '    ', '\n        ', ' ', 'a', 'b(', ')', ' = ', '\n\n', '\x0c', '']
  for _ in range(200):
    tokens = [pieces[i] for i in rng.integers(len(pieces), size=12)]
    peak = int(rng.integers(12))
    tidied = report.tidy(report.Snippet(tokens, np.zeros(12), peak))
    whole = ''.join(tokens)
    if '\n' in ''.join(tokens[:peak]):
      whole = whole.split('\n', 1)[1]
    letters = re.sub(r'\s', '', whole)
    assert re.sub(r'\s', '', ''.join(tidied.tokens)) == letters
    assert len(tidied.tokens) == 12
    assert tidied.peak == peak


def test_tidying_keeps_relative_indentation():
  tokens = ['x', '\n        ', 'if', ' a', ':', '\n            ', 'b', '\n', '\n']
  tidied = report.tidy(report.Snippet(tokens, np.zeros(9), 3))
  assert ''.join(tidied.tokens) == 'if a:\n    b\n'


def test_snippets_that_make_no_sense_are_refused():
  with pytest.raises(ValueError, match='2 tokens and 1 values'):
    report.Snippet(['a', 'b'], np.zeros(1), 0)
  with pytest.raises(ValueError, match='outside'):
    report.Snippet(['a'], np.zeros(1), 1)
  with pytest.raises(ValueError, match='kind'):
    report.chips(['a'], np.zeros(1), kind='sideways')


@pytest.mark.parametrize(
  ('token', 'label'),
  [
    (' the', '·the'),
    ('\n    ', '↵····'),
    ('        ', '·×8'),
    ('', '∅'),
    ('\t', '⇥'),
    ('\x07', r'\x07'),
    ('é', 'é'),
  ],
)
def test_a_token_is_visible_on_one_line(token, label):
  assert report.visible(token) == label
  assert '\n' not in report.visible(token)
