"""Pictures of what lenses see."""

import numpy as np
import pytest

from interp_jax import report
from interp_jax.report import lenses

TOKENS = ['<b>', ' $x', '\n    ', '漢']
DEPTHS = ['before 0', 'the model']


def text_of(figure):
  return str(report.to_svg(figure, 'a picture'))


def test_every_head_has_its_map_and_positions_have_names():
  patterns = np.tril(np.full((3, 4, 4), 0.25))
  text = text_of(
    lenses.attention_patterns(patterns, TOKENS, ['0.0', '0.1', '1.0'], columns=2)
  )
  assert text.count('<image') == 3 + 1  # And the colour bar.
  for label in ('0.0', '0.1', '1.0', '&lt;b&gt;', '·$x', '↵····', 'attention'):
    assert label in text


def test_long_texts_are_drawn_without_names():
  figure = lenses.attention_patterns(np.zeros((1, 99, 99)), ['word'] * 99, ['0.0'])
  assert 'word' not in text_of(figure)


def test_a_table_has_the_tokens_and_marks_those_of_the_model():
  figure = lenses.prediction_table(
    [['a', 'b', 'c', 'd'], ['x', 'b', 'y', 'd']],
    np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]]),
    TOKENS,
    DEPTHS,
  )
  bold = [t.get_text() for t in figure.axes[0].texts if t.get_fontweight() == 'bold']
  assert sorted(bold) == ['b', 'b', 'd', 'd', 'x', 'y']
  assert '<title>before 0, c: 0.300</title>' in text_of(figure)


def test_norms_are_written_into_their_cells():
  norms = np.array([[1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 12345.6]])
  text = text_of(lenses.stream_norms(norms, TOKENS, DEPTHS))
  assert '12346' in text
  assert '<title>the model, ·$x: 20</title>' in text
  assert text_of(lenses.stream_norms(np.ones((2, 4)), TOKENS, DEPTHS))


def test_what_does_not_match_is_refused():
  with pytest.raises(ValueError, match='1 names were given for 2'):
    lenses.attention_patterns(np.zeros((2, 4, 4)), TOKENS, ['0.0'])
  with pytest.raises(ValueError, match='4 tokens were given for 3'):
    lenses.stream_norms(np.ones((2, 3)), TOKENS, DEPTHS)
  with pytest.raises(ValueError, match='above 0'):
    lenses.stream_norms(np.zeros((2, 4)), TOKENS, DEPTHS)
  with pytest.raises(ValueError, match='1 names of depths were given for 2'):
    lenses.prediction_table([['a'] * 4] * 2, np.ones((2, 4)), TOKENS, DEPTHS[:1])
