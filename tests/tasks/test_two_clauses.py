"""Prompts of two clauses: what is asked has one answer, and what is new is new."""

import jax
import numpy as np
import pytest

from interp_jax.tasks import TwoClauses
from interp_jax.tasks.two_clauses import AND, BOS, GAVE, TO

TASK = TwoClauses(names=12, words=3, length=15, held_out=0.2)


@pytest.fixture(scope='module')
def prompts():
  return TASK.prompts(200, seed=0)


def test_the_answer_is_the_partner_of_the_one_name_that_comes_twice(prompts):
  for i, row in enumerate(prompts.tokens):
    assert row[0] == BOS
    assert row[-2:].tolist() == [GAVE, TO]
    ands = np.flatnonzero(row == AND)
    clauses = [(row[at - 1], row[at + 1]) for at in ands]
    assert len(clauses) == 2
    named = [name for clause in clauses for name in clause]
    assert len(set(named)) == 4
    assert set(named) <= set(TASK.name_ids)
    subject = row[TASK.second_subject_at]
    (clause,) = (clause for clause in clauses if subject in clause)
    assert prompts.subject[i] == subject
    assert {subject, prompts.answer[i]} == set(clause)
    # Nothing but the clauses and the question is a name.
    assert np.isin(row, TASK.name_ids).sum() == 5


def test_positions_are_where_the_names_are(prompts):
  row = np.arange(200)
  assert (prompts.tokens[row, prompts.answer_at] == prompts.answer).all()
  assert (prompts.tokens[row, prompts.subject_at] == prompts.subject).all()
  assert (np.abs(prompts.answer_at - prompts.subject_at) == 2).all()
  others = np.take_along_axis(prompts.tokens, prompts.others_at, 1)
  assert (np.diff(prompts.others_at) == 2).all()
  for used in (prompts.answer, prompts.subject):
    assert (others != used[:, None]).all()
  assert (
    np.take_along_axis(prompts.tokens, prompts.others_at[:, :1] + 1, 1) == AND
  ).all()


def test_a_corrupted_prompt_asks_after_a_fifth_name(prompts):
  differs = prompts.tokens != prompts.corrupted
  assert (differs.sum(1) == 1).all()
  assert differs[:, TASK.second_subject_at].all()
  fifth = prompts.corrupted[:, TASK.second_subject_at]
  assert np.isin(fifth, TASK.name_ids).all()
  assert not (prompts.tokens == fifth[:, None]).any()


def test_any_of_the_four_names_is_asked_after(prompts):
  after_partner = prompts.subject_at > prompts.answer_at
  second_clause = prompts.subject_at > prompts.others_at[:, 0]
  for one in (True, False):
    for two in (True, False):
      assert 0.15 < ((after_partner == one) & (second_clause == two)).mean() < 0.35


@pytest.mark.parametrize('new_pairs', [False, True])
@pytest.mark.parametrize('new_layouts', [False, True])
def test_what_is_held_out_is_apart(new_pairs, new_layouts):
  drawn = TASK.prompts(100, seed=1, new_pairs=new_pairs, new_layouts=new_layouts)
  first = TASK.name_ids[0]
  asked = TASK.new_pairs[drawn.answer - first, drawn.subject - first]
  others = np.take_along_axis(drawn.tokens, drawn.others_at, 1) - first
  other = TASK.new_pairs[others[:, 0], others[:, 1]]
  assert ((asked | other) == new_pairs).all()
  begins = np.minimum(drawn.answer_at, drawn.subject_at)
  layouts = np.sort(np.stack([begins, drawn.others_at[:, 0]], 1), axis=1)
  known = {tuple(row) for row in TASK.layouts[~TASK.new_layouts]}
  assert all((tuple(row) in known) != new_layouts for row in layouts)


def test_pairs_are_held_out_both_ways_and_no_name_with_itself():
  assert (TASK.new_pairs == TASK.new_pairs.T).all()
  assert not TASK.new_pairs.diagonal().any()
  assert 0.1 < TASK.new_pairs.mean() < 0.3


def test_a_draw_is_that_of_its_key_and_runs_under_jit():
  layouts = TASK.layouts
  draw = jax.jit(lambda key: TASK.draw(key, 8, layouts))
  one, same, other = (draw(jax.random.key(seed)) for seed in (3, 3, 4))
  assert (one.tokens == same.tokens).all()
  assert (one.tokens != other.tokens).any()


def test_tokens_have_words():
  row = np.array([BOS, TASK.name_ids[0], AND, TASK.name_ids[1], TASK.vocab_size - 1])
  assert TASK.token_strings(row) == ['<bos>', 'N0', 'and', 'N1', 'w2']


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'names': 4}, 'at least 5 names'),
    ({'length': 12}, 'length=12'),
    ({'held_out': 0.0}, 'held_out=0.0'),
  ],
)
def test_a_task_that_cannot_be_drawn_is_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    TwoClauses(**fields)
