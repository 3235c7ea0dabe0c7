"""Pairs that differ in one token, and in their answers."""

import re

import numpy as np
import pytest

from interp_jax.tasks import pairs


class WordTokenizer:
  """Words with the space before them are tokens; names of `split` are two."""

  bos_id = 0

  def __init__(self, split=()):
    self.split, self.ids = split, {}

  def encode(self, text):
    pieces = re.findall(r' ?\w+|[^\w]', text)
    for name in self.split:
      pieces = [
        q for p in pieces for q in ([p[:-1], p[-1]] if p.strip() == name else [p])
      ]
    return [self.ids.setdefault(p, len(self.ids) + 1) for p in pieces]

  def decode(self, ids):
    names = {i: piece for piece, i in self.ids.items()} | {0: ''}
    return ''.join(names[int(i)] for i in ids)


def differences(made):
  return [
    np.nonzero(c != k)[0] for c, k in zip(made.clean, made.corrupted, strict=True)
  ]


@pytest.mark.parametrize('bos_id', [None, 0, 7])
@pytest.mark.parametrize('seed', range(3))
def test_induction_is_completed_by_what_followed_the_first_time(bos_id, seed):
  made = pairs.induction_pairs(8, 50, bos_id, length=16, gap=(3, 9), seed=seed)
  assert all(
    (d == [at]).all() for d, at in zip(differences(made), made.changed, strict=True)
  )
  for tokens, answer in ((made.clean, made.correct), (made.corrupted, made.wrong)):
    for row, right in zip(tokens, answer, strict=True):
      (earlier,) = np.nonzero(row[:-1] == row[-1])[0]
      assert row[earlier + 1] == right
      assert len(set(row)) == len(row) - 1
      assert bos_id is None or (row[0] == bos_id and bos_id not in row[1:])
      assert 3 <= len(row) - 1 - earlier <= 9


def test_the_gap_of_induction_differs_between_seeds():
  gaps = {int(pairs.induction_pairs(1, 50, seed=s).changed[0]) for s in range(12)}
  assert len(gaps) > 3


@pytest.mark.parametrize('template', sorted(pairs.TEMPLATES))
def test_a_variable_pair_is_the_template_with_two_names(template):
  tokenizer = WordTokenizer()
  made = pairs.variable_pairs(tokenizer, template, pairs=6)
  assert len(made) == 6
  for i in range(6):
    (at,) = differences(made)[i]
    assert at == made.changed[i]
    for tokens, answer in ((made.clean, made.correct), (made.corrupted, made.wrong)):
      text = tokenizer.decode(tokens[i])
      name = tokenizer.decode(answer[i : i + 1]).strip()
      assert text == pairs.TEMPLATES[template].format(name)
    assert made.correct[i] != made.wrong[i]


def test_names_of_more_than_one_token_are_left_out():
  tokenizer = WordTokenizer(split=('value', 'data'))
  made = pairs.variable_pairs(
    tokenizer, 'argument', ['name', 'value', 'data', 'text', 'line'], pairs=20
  )
  assert len(made) == 3 * 2
  names = {tokenizer.decode([t]).strip() for t in made.correct}
  assert names == {'name', 'text', 'line'}


def test_swapping_twice_changes_nothing():
  made = pairs.induction_pairs(4, 40)
  again = made.swapped().swapped()
  np.testing.assert_array_equal(again.clean, made.clean)
  np.testing.assert_array_equal(made.swapped().correct, made.wrong)
  assert made.take([2, 0]).clean.tolist() == made.clean[[2, 0]].tolist()


def test_wrong_arguments_say_what_is_right():
  with pytest.raises(ValueError, match=r"Unknown template 'argumnt'.*'argument'"):
    pairs.variable_pairs(WordTokenizer(), 'argumnt')
  with pytest.raises(ValueError, match='a pair needs two'):
    pairs.variable_pairs(WordTokenizer(), 'argument', ['name'])
  with pytest.raises(ValueError, match='what fits in 8 tokens'):
    pairs.induction_pairs(2, 50, length=8, gap=(3, 8))
  with pytest.raises(ValueError, match='smaller length'):
    pairs.induction_pairs(2, 20, length=24)
