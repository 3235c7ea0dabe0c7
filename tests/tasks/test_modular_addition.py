"""All questions modulo a number, and the network that adds by a formula."""

import numpy as np
import pytest

from interp_jax.tasks import closed_form, modular_addition


def test_the_training_questions_are_a_random_part_of_all():
  task = modular_addition(11, 0.3, seed=0)
  assert task.train.sum() == int(0.3 * 121)
  again, other = (modular_addition(11, 0.3, seed) for seed in (0, 1))
  assert (again.train == task.train).all()
  assert (other.train != task.train).any()
  a, b = np.indices((11, 11))
  assert ((a + b) % 11 == task.answers).all()
  pairs = task.pairs(~task.train)
  assert len(pairs) == 121 - task.train.sum()
  assert not task.train[tuple(pairs.T)].any()
  assert (task.equals, task.vocab_size) == (11, 12)


def test_shuffled_answers_are_the_same_answers_to_other_questions():
  rule = modular_addition(31, 0.3, seed=4)
  shuffled = modular_addition(31, 0.3, seed=4, shuffled=True)
  assert (shuffled.train == rule.train).all()
  assert (np.bincount(shuffled.answers.ravel()) == 31).all()
  assert (shuffled.answers == rule.answers).mean() < 0.1


@pytest.mark.parametrize('modulus', [1, 2, 12])
def test_an_even_modulus_is_refused(modulus):
  with pytest.raises(ValueError, match='odd'):
    modular_addition(modulus, 0.5, 0)


@pytest.mark.parametrize('fraction', [0.0, 1.0, 0.001])
def test_a_split_without_a_part_is_refused(fraction):
  with pytest.raises(ValueError, match='for the test'):
    modular_addition(7, fraction, 0)


def test_the_closed_form_adds_if_it_is_wide_enough():
  answers = modular_addition(97, 0.5, 0).answers
  right = lambda width, seed: (
    closed_form(97, width, seed).logits().argmax(-1) == answers
  ).mean()
  assert right(500, 0) == right(300, 1) == 1
  assert 0.95 < right(100, 0) < 1
  assert right(2, 0) < 0.2


def test_the_closed_form_is_the_sum_of_its_neurons_written_out():
  made = closed_form(7, 3, seed=1)
  a, b, c = 2, 6, 4
  total = 0.0
  for k, f, g in zip(made.frequencies, *made.phases, strict=True):
    w = 2 * np.pi * k / 7
    total += np.cos(-w * c - f - g) * (np.cos(w * a + f) + np.cos(w * b + g)) ** 2
  np.testing.assert_allclose(made.logits()[a, b, c], total, rtol=1e-12)


def test_frequencies_are_drawn_from_those_that_are_given():
  made = closed_form(11, 50, 0, frequencies=np.array([2, 5]))
  assert set(made.frequencies) == {2, 5}
  assert set(closed_form(11, 200, 0).frequencies) == {1, 2, 3, 4, 5}
  with pytest.raises(ValueError, match='1 to 5'):
    closed_form(11, 50, 0, frequencies=np.array([6]))
