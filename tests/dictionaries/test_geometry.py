import numpy as np
import pytest

from interp_jax.dictionaries import (
  compare,
  cosines,
  matched_cosine,
  max_cosine,
  neighbours,
  uniqueness,
)


@pytest.fixture(scope='module')
def rows():
  rows = np.random.default_rng(0).normal(size=(37, 6))
  rows[5] = 0
  return rows


@pytest.fixture(scope='module')
def others():
  return np.random.default_rng(1).normal(size=(23, 6))


@pytest.mark.parametrize('block', [1, 10, 37, 1000])
def test_neighbours_in_blocks_are_those_of_all_cosines(rows, others, block):
  got = neighbours(rows, others, n=3, block=block)
  every = cosines(rows, others)
  expected = np.sort(every, 1)[:, :-4:-1]
  np.testing.assert_allclose(got.cosines, expected, atol=1e-6)
  found = np.take_along_axis(every, got.indices, 1)
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_direction_is_not_its_own_neighbour(rows):
  got = neighbours(rows, n=36, block=10)
  for index, row in enumerate(got.indices):
    assert sorted([*row, index]) == list(range(37))
  every = cosines(rows, rows)
  np.fill_diagonal(every, -np.inf)
  np.testing.assert_allclose(got.cosines[:, 0], every.max(1), atol=1e-6)
  assert got.to_dict()['largest_cosine'] == pytest.approx(every.max(), abs=1e-6)


def test_opposite_directions_are_near_only_if_asked(others):
  assert neighbours(-others, others).cosines.max() < 0.999
  got = neighbours(-others, others, absolute=True)
  np.testing.assert_array_equal(got.indices[:, 0], np.arange(23))
  np.testing.assert_allclose(got.cosines, 1, atol=1e-6)


def test_there_must_be_enough_others(others):
  with pytest.raises(ValueError, match='between 1 and 22'):
    neighbours(others, n=23)


def test_a_permuted_and_scaled_dictionary_is_the_same_one(others):
  rng = np.random.default_rng(2)
  learned = rng.permutation(others) * rng.uniform(0.1, 9, (23, 1))
  got = compare(learned, others).to_dict()
  assert got == pytest.approx(dict.fromkeys(got, 1.0), abs=1e-6)


def test_a_duplicate_counts_for_nothing():
  # Two truths at a right angle; both learned rows are the first one.
  truth, learned = np.eye(2), np.array([[1.0, 0.0], [1.0, 0.0]])
  assert matched_cosine(learned, truth) == pytest.approx(0.5)
  assert max_cosine(truth, learned) == pytest.approx(0.5)
  assert uniqueness(learned, truth) == 0.5
  assert compare(learned, truth).found_fraction == 0.5


def test_the_matching_is_the_best_one_not_a_greedy_one():
  # Greedy takes the pair at 0.8 + 0.0; the best is 0.6 + 0.6 (unit rows in R^2).
  A = np.array([[1.0, 0.0], [0.8, 0.6]])
  B = np.array([[0.6, 0.8], [1.0, 0.0]])
  every = np.abs(cosines(A, B))
  best = max(every[0, 0] + every[1, 1], every[0, 1] + every[1, 0]) / 2
  assert matched_cosine(A, B) == pytest.approx(best)


def test_other_sizes_match_as_many_pairs_as_there_are(rows, others):
  assert matched_cosine(rows, rows[:4]) == pytest.approx(1)
  assert matched_cosine(others[:4], others) == pytest.approx(1)
