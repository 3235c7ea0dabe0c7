import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.dictionaries import Dictionary, DictionaryConfig, ReLU, detect
from tests.dictionaries.planted import random_dictionary


def detector(W_enc, W_dec):
  features, width = np.shape(W_dec)
  params = {
    'W_enc': jnp.asarray(W_enc, jnp.float32),
    'b_enc': jnp.zeros(features),
    'W_dec': jnp.asarray(W_dec, jnp.float32),
    'b_dec': jnp.zeros(width),
  }
  return Dictionary(params, DictionaryConfig(width, features, ReLU()))


def test_scores_counted_by_hand():
  # Feature 0 is judged against truth 1 (opposite sign counts), 1 and 2 against truth 0;
  # feature 2 is dead.
  dictionary = detector(
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], [[0.1, -2.0], [3.0, 0.0], [1.0, 0.1]]
  )
  x = np.array([[1, 1], [1, 1], [0, 1], [0, 0], [1, 0]], np.float32)
  present = np.array([[1, 1], [1, 0], [1, 1], [0, 1], [0, 0]], np.float32)
  got = detect(dictionary, [(x, present)], np.eye(2))
  # Feature 0 is on in rows 0, 1, 2 and truth 1 in 0, 2, 3; feature 1 is on in 0, 1, 4
  # and truth 0 in 0, 1, 2.
  np.testing.assert_allclose(got.precision, [2 / 3, 2 / 3, 0])
  np.testing.assert_allclose(got.recall, [2 / 3, 2 / 3, 0])
  np.testing.assert_allclose(got.f1, [2 / 3, 2 / 3, 0])
  np.testing.assert_allclose(got.accuracy, [3 / 5, 3 / 5, 2 / 5])
  assert got.to_dict() == pytest.approx(
    {'precision': 4 / 9, 'recall': 4 / 9, 'f1': 4 / 9, 'accuracy': 8 / 15, 'rows': 5}
  )


def test_the_truth_itself_detects_perfectly(planted):
  directions = np.linalg.qr(planted.directions[:24].T)[0].T
  codes = np.maximum(np.random.default_rng(0).normal(size=(200, 24)), 0)
  x = (codes @ directions).astype(np.float32)
  # Orthonormal, so that the products are the codes; a bias below them removes rounding.
  dictionary = detector(directions.T, directions)
  params = dictionary.params | {'b_enc': jnp.full(24, -1e-5)}
  got = detect(Dictionary(params, dictionary.config), [(x, codes > 2e-5)], directions)
  assert got.to_dict() == {
    'precision': 1, 'recall': 1, 'f1': 1, 'accuracy': 1, 'rows': 200
  }  # fmt: skip


def test_the_split_into_batches_changes_nothing():
  rng = np.random.default_rng(0)
  dictionary = random_dictionary(ReLU())
  x = rng.normal(size=(60, 8)).astype(np.float32)
  present = rng.random((60, 5)) < 0.3
  directions = rng.normal(size=(5, 8))
  whole = detect(dictionary, [(x, present)], directions)
  parts = [(x[a:b], present[a:b]) for a, b in ((0, 7), (7, 7), (7, 53), (53, 60))]
  got = detect(dictionary, parts, directions)
  for name in ('precision', 'recall', 'f1', 'accuracy', 'rows'):
    np.testing.assert_array_equal(getattr(got, name), getattr(whole, name))


def test_activations_of_other_truths_are_refused():
  dictionary, x = random_dictionary(ReLU()), np.zeros((3, 8), np.float32)
  with pytest.raises(ValueError, match='4 directions'):
    detect(dictionary, [(x, np.zeros((3, 5)))], np.eye(4, 8))
  with pytest.raises(ValueError, match='no batches'):
    detect(dictionary, [], np.eye(4, 8))
