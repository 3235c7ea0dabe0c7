"""Repeated blocks: what repeats, what is random, and what differs between rows."""

import jax
import numpy as np
import pytest

from interp_jax import tasks

TASK = tasks.RepeatedBlocks(symbols=50, length=30, periods=(5, 6, 7, 9, 12))


@pytest.fixture(scope='module')
def rows():
  return np.asarray(TASK.draw(jax.random.key(0), 400))


def period_of(row):
  """The shortest shift under which the row after its BOS is the same."""
  text = row[1:]
  return next(p for p in range(1, len(text)) if (text[p:] == text[:-p]).all())


def test_every_row_repeats_with_a_period_of_its_own(rows):
  assert rows.shape == (400, 30)
  found = [period_of(row) for row in rows]
  assert set(found) == set(TASK.periods)
  counts = np.bincount(found)[list(TASK.periods)]
  assert counts.min() > 40  # Of 80 each.


def test_rows_begin_with_bos_which_is_nowhere_else(rows):
  assert TASK.vocab_size == 51
  assert (rows[:, 0] == TASK.bos_id).all()
  assert rows[:, 1:].max() == 49
  assert rows[:, 1:].min() == 0


def test_blocks_are_uniformly_random(rows):
  first = rows[:, 1:6]  # Never longer than the shortest block.
  share = np.bincount(first.ravel(), minlength=50) / first.size
  assert np.abs(share - 0.02).max() < 0.015
  pairs = first[:, 1:] == first[:, :-1]
  assert abs(pairs.mean() - 0.02) < 0.015


def test_another_key_gives_other_rows_and_the_same_key_the_same(rows):
  assert (np.asarray(TASK.draw(jax.random.key(0), 400)) == rows).all()
  assert (np.asarray(TASK.draw(jax.random.key(1), 400)) != rows).mean() > 0.9


def test_one_period_for_all_rows_may_be_asked_for():
  constant = tasks.RepeatedBlocks(50, 30, (7,)).draw(jax.random.key(0), 20)
  assert {period_of(row) for row in np.asarray(constant)} == {7}


@pytest.mark.parametrize('periods', [(), (0, 4), (5, 29)])
def test_periods_that_leave_nothing_to_repeat_are_refused(periods):
  with pytest.raises(ValueError, match='from 1 to 28'):
    tasks.RepeatedBlocks(50, 30, periods)


def test_a_single_symbol_is_refused():
  with pytest.raises(ValueError, match='at least 2'):
    tasks.RepeatedBlocks(1, 30, (5, 12))
