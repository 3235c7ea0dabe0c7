import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import dictionaries
from interp_jax.dictionaries import ReLU, TopK, features
from tests.dictionaries.planted import codes_of, random_dictionary, write_store


@pytest.fixture(scope='module')
def rows():
  return np.random.default_rng(5).normal(size=(150, 8)).astype(np.float32)


@pytest.fixture(scope='module')
def reader(rows, tmp_path_factory):
  return write_store(tmp_path_factory.mktemp('features') / 'store', rows)


@pytest.mark.parametrize('activation', [TopK(4), ReLU()])
@pytest.mark.parametrize('batch_rows', [7, 64, 1000])
def test_the_strongest_examples_are_those_of_all_codes(
  rows, reader, activation, batch_rows
):
  dictionary = random_dictionary(activation)
  got = dictionaries.strongest_examples(dictionary, reader, n=3, batch_rows=batch_rows)
  codes = np.asarray(codes_of(dictionary, rows))
  for f in range(20):
    order = np.argsort(-codes[:, f], kind='stable')[:3]
    order = order[codes[order, f] > 0]
    np.testing.assert_array_equal(got.rows[f, : len(order)], order)
    np.testing.assert_allclose(got.values[f, : len(order)], codes[order, f], rtol=1e-4)
    assert (got.rows[f, len(order) :] == -1).all()
    np.testing.assert_array_equal(got.provenance[f, : len(order), 0], order // 10)
    np.testing.assert_array_equal(got.provenance[f, : len(order), 2], order % 7)
  np.testing.assert_allclose(got.density, (codes > 0).mean(0))
  active = np.maximum((codes > 0).sum(0), 1)
  np.testing.assert_allclose(got.mean, codes.sum(0) / active, rtol=1e-4)


def test_chosen_features_come_in_the_order_given(reader, dictionary):
  whole = dictionaries.strongest_examples(dictionary, reader, n=2)
  some = dictionaries.strongest_examples(dictionary, reader, [7, 3], n=2)
  np.testing.assert_array_equal(some.rows, whole.rows[[7, 3]])
  np.testing.assert_array_equal(some.density, whole.density[[7, 3]])
  with pytest.raises(ValueError, match=r'0\.\.19'):
    dictionaries.strongest_examples(dictionary, reader, [20])


def examples(tokens, values, density, mean):
  tokens = np.array(tokens)
  provenance = np.zeros((*tokens.shape, 3), int)
  provenance[..., 2] = tokens
  return features.Examples(
    features=np.arange(len(tokens)),
    values=np.array(values, np.float32),
    rows=np.zeros(tokens.shape, int),
    provenance=provenance,
    density=np.array(density),
    mean=np.array(mean, float),
    count=100,
  )


def test_clarity_is_purity_times_contrast_within_the_band():
  given = examples(
    tokens=[[1, 1], [1, 2], [3, 3], [4, 4]],
    values=[[8, 8], [8, 8], [8, 8], [4, 4]],
    density=[0.01, 0.01, 0.5, 0.01],
    mean=[2, 2, 2, 2],
  )
  np.testing.assert_allclose(features.clarity(given), [0.75, 0.375, 0, 0.5])
  assert features.clearest(given, 3).tolist() == [0, 3]
  # The second shares its most frequent token, 1, with the first.
  missing = dataclasses.replace(given, rows=np.full((4, 2), -1))
  assert features.clearest(missing, 3).tolist() == []


def test_promoted_tokens_are_the_largest_products_with_the_unembedding(dictionary):
  unembedding = np.random.default_rng(0).normal(size=(8, 30)).astype(np.float32)
  ids, effects = dictionaries.promoted_tokens(dictionary, [4, 9], unembedding, 5)
  full = np.asarray(dictionary.params['W_dec'])[[4, 9]] @ unembedding
  full = full - full.mean(1, keepdims=True)
  np.testing.assert_array_equal(ids, np.argsort(-full, 1)[:, :5])
  np.testing.assert_allclose(effects, -np.sort(-full, 1)[:, :5], rtol=1e-4)
  with pytest.raises(ValueError, match='width 8'):
    dictionaries.promoted_tokens(dictionary, [0], jnp.zeros((9, 30)), 5)


def test_a_duplicate_counts_for_nothing_in_matched_cosine():
  truth = np.eye(4)[:2]
  assert dictionaries.matched_cosine(truth, np.eye(4)[[0, 0]]) == pytest.approx(0.5)
  assert dictionaries.matched_cosine(truth, -np.eye(4)[[1, 0]]) == pytest.approx(1)
  assert dictionaries.max_cosine(truth, np.eye(4)[[0, 0]]) == pytest.approx(0.5)
