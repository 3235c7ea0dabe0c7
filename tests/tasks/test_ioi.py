"""English prompts: every template, both orders, names in their places."""

import re

import numpy as np
import pytest

from interp_jax.tasks import ioi, ioi_prompts


class WordTokenizer:
  """Words with the space before them are tokens; names of `split` are two."""

  def __init__(self, split=()):
    self.split, self.ids = split, {}

  def encode(self, text):
    pieces = re.findall(r' ?\w+|[^\w]', text)
    for name in self.split:
      pieces = [
        q for p in pieces for q in ([p[:-1], p[-1]] if p.strip() == name else [p])
      ]
    return [self.ids.setdefault(p, len(self.ids)) for p in pieces]

  def decode(self, ids):
    pieces = {i: piece for piece, i in self.ids.items()}
    return [pieces[int(i)] for i in ids]


def test_there_are_fifteen_templates_that_end_before_the_answer():
  assert len(set(ioi.TEMPLATES)) == 15
  for template in ioi.TEMPLATES:
    slots = re.findall(r'{(\w+)}', template)
    assert sorted(slots) == ['object', 'one', 'place', 'subject', 'two']
    assert slots.index('one') < slots.index('two') < slots.index('subject')
    assert template.endswith(' to')


@pytest.mark.parametrize('order', ioi.ORDERS)
@pytest.mark.parametrize('template', ioi.TEMPLATES)
def test_the_subject_comes_twice_and_the_object_once(template, order):
  tokenizer = WordTokenizer()
  made = ioi_prompts(tokenizer, template, order, count=6, seed=1)
  assert ((made.tokens == made.subject[:, None]).sum(1) == 2).all()
  assert ((made.tokens == made.io[:, None]).sum(1) == 1).all()
  assert (made.tokens[:, made.io_at] == made.io).all()
  for at in (made.subject_at, made.second_subject_at):
    assert (made.tokens[:, at] == made.subject).all()
  assert (made.io_at < made.subject_at) == (order == 'ABBA')
  assert made.subject_at < made.second_subject_at
  assert all(tokenizer.decode(row[-1:]) == [' to'] for row in made.tokens)


def test_unrelated_prompts_have_three_names_in_the_same_places():
  made = ioi_prompts(WordTokenizer(), ioi.TEMPLATES[3], 'BABA', count=20)
  places = [made.io_at, made.subject_at, made.second_subject_at]
  assert made.abc.shape == made.tokens.shape
  assert all(len(set(row)) == 3 for row in made.abc[:, places].tolist())


@pytest.mark.parametrize(('mention', 'times'), [('io', 2), ('other', 1)])
def test_a_sentence_in_front_mentions_the_object_or_somebody_else(mention, times):
  made = ioi_prompts(WordTokenizer(), count=5, mention=mention)
  assert ((made.tokens == made.io[:, None]).sum(1) == times).all()
  assert ((made.tokens == made.subject[:, None]).sum(1) == 2).all()
  assert (made.tokens[:, made.io_at] == made.io).all()


def test_names_of_two_tokens_are_not_drawn():
  tokenizer = WordTokenizer(split=ioi.NAMES[:-8])
  made = ioi_prompts(tokenizer, count=40)
  drawn = tokenizer.decode(np.unique([made.io, made.subject]))
  assert {name.strip() for name in drawn} <= set(ioi.NAMES[-8:])


def test_a_tokenizer_without_names_and_wrong_words_are_refused():
  with pytest.raises(ValueError, match='has 7 of the'):
    ioi_prompts(WordTokenizer(split=ioi.NAMES[:-7]))
  with pytest.raises(ValueError, match='ABAB'):
    ioi_prompts(WordTokenizer(), order='ABAB')
  with pytest.raises(ValueError, match='subject'):
    ioi_prompts(WordTokenizer(), mention='subject')
