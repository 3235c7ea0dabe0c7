import dataclasses

import numpy as np
import pytest

from interp_jax.report import FeatureCard, Snippet, feature_picture, to_svg

TOKENS = ['def', ' f', '(', 'x', '):', '\n        ', 'raise', ' TypeError', '(', ')']
VALUES = np.array([0, 0, 0, 0, 0, 0.5, 4.0, 2.0, 0, 0])
CARD = FeatureCard(
  index=412,
  density=0.0012,
  maximum=5.0,
  promoted=[' TypeError', '\n'],
  promoted_logits=np.array([2.1, 1.0]),
  suppressed=[' in', ' is'],
  suppressed_logits=np.array([-1.25, -0.5]),
  snippets=[Snippet(TOKENS, VALUES, 6), Snippet(TOKENS[3:], VALUES[3:], 3)],
)


def drawn(figure, text):
  return [item for item in figure.axes[0].texts if item.get_text() == text]


def test_facts_and_what_it_raises_and_lowers_are_in_the_picture():
  svg = to_svg(feature_picture(CARD), 'a feature')
  for text in ('Feature 412', 'raises', 'lowers', ' ·TypeError +2.1 ', ' ·in −1.2 '):
    assert f'>{text}<' in svg
  assert 'active on 0.12 % of tokens' in svg
  assert ' TypeError: 2.00' in svg  # The tooltip of a token.


def test_the_strongest_tokens_stand_below_each_other_and_are_the_darkest():
  figure = feature_picture(CARD)
  peaks = drawn(figure, 'raise')
  assert len(peaks) == 2
  assert len({item.get_position()[0] for item in peaks}) == 1
  assert len({item.get_position()[1] for item in peaks}) == 2
  place, row = peaks[0].get_position()
  boxes = {box.get_x(): box for box in figure.axes[0].patches if box.get_y() < row}
  peak, after = boxes[place], boxes[place + len('raise')]
  assert sum(peak.get_facecolor()[:3]) < sum(after.get_facecolor()[:3])


def test_a_context_is_one_line_of_letters_without_gaps():
  figure = feature_picture(CARD, before=12, after=20)
  row = drawn(figure, 'raise')[0].get_position()[1]
  line = [t for t in figure.axes[0].texts if t.get_position()[1] == row]
  ends = [t.get_position()[0] + len(t.get_text()) for t in line]
  assert [t.get_position()[0] for t in line[1:]] == ends[:-1]
  assert ''.join(t.get_text() for t in line) == 'def f(x):↵ raise TypeError()'


def test_what_is_too_far_away_is_cut():
  figure = feature_picture(CARD, before=3, after=7)
  row = drawn(figure, 'raise')[0].get_position()[1]
  line = [t for t in figure.axes[0].texts if t.get_position()[1] == row]
  assert ''.join(t.get_text() for t in line) == ':↵ raise T'


def test_a_feature_without_contexts_is_an_error():
  with pytest.raises(ValueError, match='no contexts'):
    feature_picture(dataclasses.replace(CARD, snippets=[]))
