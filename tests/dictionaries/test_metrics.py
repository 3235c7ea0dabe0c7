import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.dictionaries import (
  Dictionary,
  DictionaryConfig,
  ReLU,
  TopK,
  evaluate,
  metrics,
)
from tests.dictionaries.planted import random_dictionary


@pytest.fixture
def rows():
  rng = np.random.default_rng(0)
  return (rng.normal(size=(90, 8)) + 20).astype(np.float32)


def identity(width=8):
  """A complete orthonormal basis and its negative: every x is a sum of features."""
  basis = np.linalg.qr(np.random.default_rng(0).normal(size=(width, width)))[0]
  rows = jnp.asarray(np.concatenate([basis, -basis]), jnp.float32)
  params = {'W_enc': rows.T, 'b_enc': jnp.zeros(2 * width), 'W_dec': rows}
  config = DictionaryConfig(width, 2 * width, TopK(width))
  return Dictionary(params | {'b_dec': jnp.zeros(width)}, config)


def test_the_metrics_are_their_formulas(dictionary, rows):
  got = evaluate(dictionary, [rows])
  x, y = rows.astype(np.float64), np.asarray(dictionary(rows), np.float64)
  codes = np.asarray(dictionary.encode(rows))
  error = ((x - y) ** 2).sum()
  fvu = error / ((x - x.mean(0)) ** 2).sum()
  cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
  expected = {
    'mse': error / 90,
    'fvu': fvu,
    'explained_variance': 1 - fvu,
    'l0': (codes != 0).sum(1).mean(),
    'cosine': cosine.mean(),
    'dead_fraction': (codes == 0).all(0).mean(),
    'density': (codes != 0).mean(0),
    'rows': 90,
  }
  for name, value in expected.items():
    np.testing.assert_allclose(getattr(got, name), value, rtol=1e-4, err_msg=name)
  assert 'density' not in got.to_dict()


def test_a_number_computed_by_hand():
  # One feature along the first axis; rows (1, 0), (3, 0), (-2, 6), mean (2/3, 2).
  params = {
    'W_enc': jnp.array([[1.0, 0.0], [0.0, -1.0]]),
    'b_enc': jnp.zeros(2),
    'W_dec': jnp.eye(2),
    'b_dec': jnp.zeros(2),
  }
  dictionary = Dictionary(params, DictionaryConfig(2, 2, ReLU()))
  rows = np.array([[1, 0], [3, 0], [-2, 6]], np.float32)
  got = evaluate(dictionary, [rows])
  assert got.mse == pytest.approx(40 / 3)
  assert got.fvu == pytest.approx(40 / (50 - 3 * (4 / 9 + 4)))
  assert got.l0 == pytest.approx(2 / 3)
  assert got.dead_fraction == 0.5
  assert got.cosine == pytest.approx(2 / 3)
  np.testing.assert_allclose(got.density, [2 / 3, 0])


@pytest.mark.parametrize('size', [1, 7, 45, 90])
def test_the_split_into_batches_changes_nothing(dictionary, rows, size):
  whole = evaluate(dictionary, [rows])
  parts = evaluate(dictionary, metrics.split(rows, size))
  for name, value in whole.to_dict().items():
    np.testing.assert_allclose(parts.to_dict()[name], value, rtol=1e-5, err_msg=name)
  np.testing.assert_array_equal(parts.density, whole.density)


def test_a_complete_orthonormal_basis_leaves_nothing_unexplained(rows):
  got = evaluate(identity(), [rows])
  assert got.fvu < 1e-9
  assert got.cosine == pytest.approx(1, abs=1e-6)


def test_the_mean_leaves_everything_unexplained(rows):
  dictionary = random_dictionary(ReLU())
  params = dictionary.params | {
    'W_dec': jnp.zeros((20, 8)),
    'b_dec': jnp.asarray(rows.mean(0)),
  }
  got = evaluate(Dictionary(params, dictionary.config), [rows])
  assert got.fvu == pytest.approx(1, abs=1e-5)


def test_rows_that_do_not_vary_have_no_fvu(dictionary):
  with pytest.raises(ValueError, match='two rows that differ'):
    evaluate(dictionary, [np.zeros((1, 8), np.float32)])
  with pytest.raises(ValueError, match='no batches'):
    evaluate(dictionary, [])
