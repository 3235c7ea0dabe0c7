import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.dictionaries import (
  Crosscoder,
  Dictionary,
  DictionaryConfig,
  ReLU,
  TopK,
  evaluate,
  metrics,
)
from tests.dictionaries.planted import codes_of, outputs_of, random_dictionary


@pytest.fixture
def rows():
  rng = np.random.default_rng(0)
  return (rng.normal(size=(90, 8)) + 20).astype(np.float32)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cross:
  """A crosscoder that reads `[B, S, D]` and writes `[B, S, E]`, of linear parts."""

  params: Any

  def norms(self):
    return jnp.linalg.norm(self.params['W_dec'], axis=-1).sum(-1)

  def encode(self, x):
    return jax.nn.relu(jnp.einsum('bsd,sdf->bf', x, self.params['W_enc']))

  def __call__(self, x):
    return jnp.einsum('bf,fse->bse', self.encode(x), self.params['W_dec'])


def identity(width=8):
  """A complete orthonormal basis and its negative: every x is a sum of features."""
  basis = np.linalg.qr(np.random.default_rng(0).normal(size=(width, width)))[0]
  rows = jnp.asarray(np.concatenate([basis, -basis]), jnp.float32)
  params = {'W_enc': rows.T, 'b_enc': jnp.zeros(2 * width), 'W_dec': rows}
  config = DictionaryConfig(width, 2 * width, TopK(width))
  return Dictionary(params | {'b_dec': jnp.zeros(width)}, config)


def formulas(t, y, codes, norms, center):
  """The formulas of the docstring, over rows `[N, E]` in float64."""
  t, y, codes = (np.asarray(a, np.float64) for a in (t, y, codes))
  error, variance = ((t - y) ** 2).sum(1), ((t - t.mean(0)) ** 2).sum()
  dot, of_t, of_y = (t * y).sum(1), np.linalg.norm(t, axis=1), np.linalg.norm(y, axis=1)
  return {
    'rows': len(t),
    'mse': error.mean(),
    'mse_per_element': ((t - y) ** 2).mean(),
    'fvu': error.sum() / variance,
    'explained_variance': 1 - error.sum() / variance,
    'explained_variance_legacy': (1 - error / ((t - center) ** 2).sum(1)).mean(),
    'l0': (codes != 0).sum(1).mean(),
    'l1': np.abs(codes).sum(1).mean(),
    'l1_weighted': (np.abs(codes) * norms).sum(1).mean(),
    'cosine': (dot / of_t / of_y).mean(),
    'norm_in': of_t.mean(),
    'norm_out': of_y.mean(),
    'l2_ratio': (of_y / of_t).mean(),
    'shrinkage': (of_y / of_t).mean(),
    'relative_reconstruction_bias': (of_y**2).sum() / dot.sum(),
    'dead_fraction': (codes == 0).all(0).mean(),
    'dense_fraction': ((codes != 0).mean(0) > 0.1).mean(),
    'density': (codes != 0).mean(0),
  }


def random_split(rows, rng):
  # Few sizes, as each is a compilation.
  while len(rows):
    size = rng.choice([size for size in (0, 1, 16, 67) if size <= len(rows)])
    yield rows[:size]
    rows = rows[size:]


def assert_equal(got, expected, rtol):
  for name, value in expected.items():
    np.testing.assert_allclose(getattr(got, name), value, rtol=rtol, err_msg=name)


def test_the_metrics_are_their_formulas(dictionary, rows):
  center = np.full(8, 19.5)
  got = evaluate(dictionary, [rows], center=center)
  norms = np.linalg.norm(dictionary.params['W_dec'], axis=1)
  codes = codes_of(dictionary, rows)
  expected = formulas(rows, outputs_of(dictionary, rows), codes, norms, center)
  assert_equal(got, expected, 1e-4)
  assert set(got.to_dict()) == set(expected) - {'density'}


def test_a_row_is_all_that_one_code_explains():
  rng = np.random.default_rng(3)
  params = {'W_enc': rng.normal(size=(3, 5, 7)), 'W_dec': rng.normal(size=(7, 3, 4))}
  cross = Cross(jax.tree.map(lambda w: jnp.asarray(w, jnp.float32), params))
  x = rng.normal(size=(30, 3, 5)).astype(np.float32)
  targets = rng.normal(size=(30, 3, 4)).astype(np.float32)
  batches = [(x[:10], targets[:10]), (x[10:], targets[10:])]
  center = np.ones((3, 4))
  got = evaluate(cross, batches, center=center)
  norms = np.linalg.norm(params['W_dec'], axis=-1).sum(1)
  flat = [np.reshape(a, (30, 12)) for a in (targets, cross(x))]
  expected = formulas(*flat, cross.encode(x), norms, center.reshape(-1))
  assert_equal(got, expected, 1e-4)


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
  got = evaluate(dictionary, [rows], center=np.array([1.0, 0.0]))
  assert got.mse == pytest.approx(40 / 3)
  assert got.mse_per_element == pytest.approx(40 / 6)
  assert got.fvu == pytest.approx(40 / (50 - 3 * (4 / 9 + 4)))
  assert got.l0 == pytest.approx(2 / 3)
  assert got.l1 == got.l1_weighted == pytest.approx(4 / 3)
  assert got.dead_fraction == 0.5
  assert got.dense_fraction == 0.5
  assert got.cosine == pytest.approx(2 / 3)
  assert got.l2_ratio == got.shrinkage == pytest.approx(2 / 3)
  assert got.relative_reconstruction_bias == pytest.approx(1)
  # The first row is the center; the others give 1 - 0 / 4 and 1 - 40 / 45.
  assert got.explained_variance_legacy == pytest.approx((1 + 1 / 9) / 2)
  np.testing.assert_allclose(got.density, [2 / 3, 0])


def test_any_split_of_the_rows_gives_the_same(dictionary):
  rng = np.random.default_rng(1)
  # Far from zero, and unlike from place to place, as activations in order are.
  drift = np.linspace(0, 5, 240)[:, None]
  rows = (rng.normal(size=(240, 8)) + drift + 30).astype(np.float32)
  center = rows.mean(0)
  whole = evaluate(dictionary, [rows], center=center)
  for _ in range(12):
    got = evaluate(dictionary, random_split(rows, rng), center=center)
    for name, value in whole.to_dict().items():
      assert got.to_dict()[name] == pytest.approx(value, rel=1e-6), name
    np.testing.assert_array_equal(got.density, whole.density)


def test_a_complete_orthonormal_basis_leaves_nothing_unexplained(rows):
  got = evaluate(identity(), [rows], center=np.zeros(8))
  assert got.fvu < 1e-9
  for name in ('cosine', 'l2_ratio', 'explained_variance_legacy'):
    assert getattr(got, name) == pytest.approx(1, abs=1e-6)
  assert got.relative_reconstruction_bias == pytest.approx(1, abs=1e-6)


def test_the_mean_leaves_everything_unexplained(rows):
  dictionary = random_dictionary(ReLU())
  params = dictionary.params | {
    'W_dec': jnp.zeros((20, 8)),
    'b_dec': jnp.asarray(rows.mean(0)),
  }
  got = evaluate(Dictionary(params, dictionary.config), [rows], center=rows.mean(0))
  assert got.fvu == pytest.approx(1, abs=1e-5)
  assert got.explained_variance_legacy == pytest.approx(0, abs=1e-5)


def test_the_bias_is_the_factor_by_which_outputs_are_too_large(rows):
  dictionary = identity()
  params = dictionary.params | {'W_dec': 0.7 * dictionary.params['W_dec']}
  got = evaluate(Dictionary(params, dictionary.config), [rows])
  assert got.relative_reconstruction_bias == pytest.approx(0.7, rel=1e-5)
  assert got.shrinkage == pytest.approx(0.7, rel=1e-5)


def test_rows_of_zeros_have_no_shrinkage_and_no_cosine():
  rows = np.zeros((4, 8), np.float32)
  rows[0] = 3
  dictionary = identity()
  shifted = dictionary.params | {'b_dec': jnp.full(8, 0.5), 'W_dec': jnp.zeros((16, 8))}
  got = evaluate(Dictionary(shifted, dictionary.config), [rows])
  assert got.shrinkage == pytest.approx(0.5 / 3)
  assert got.l2_ratio == pytest.approx((0.5 / 3 + 3 * 0.5 * np.sqrt(8)) / 4)
  assert got.cosine == pytest.approx(1 / 4)


def test_what_is_undefined_is_left_out(rows):
  dictionary = identity()
  silent = jax.tree.map(jnp.zeros_like, dictionary.params)
  got = evaluate(Dictionary(silent, dictionary.config), [rows]).to_dict()
  assert 'relative_reconstruction_bias' not in got
  assert 'explained_variance_legacy' not in got
  assert np.isfinite(list(got.values())).all()


def test_the_norms_of_what_a_crosscoders_feature_writes_are_added():
  config = DictionaryConfig(4, 2, ReLU(), Crosscoder(3))
  W_dec = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
  cross = Dictionary({'W_dec': W_dec}, config)
  norms = np.sqrt((W_dec**2).sum(-1))
  np.testing.assert_allclose(cross.norms(), norms.sum(1), rtol=1e-6)


def test_rows_that_cannot_be_scored_are_refused(dictionary, rows):
  with pytest.raises(ValueError, match='two rows that differ'):
    evaluate(dictionary, [np.zeros((1, 8), np.float32)])
  with pytest.raises(ValueError, match='no batches'):
    evaluate(dictionary, [rows[:0]])
  with pytest.raises(ValueError, match='pairs'):
    evaluate(dictionary, [(rows, rows[:, :4])])


def test_split_covers_all_rows_in_order(rows):
  parts = list(metrics.split(rows, 40))
  assert [len(part) for part in parts] == [40, 40, 10]
  np.testing.assert_array_equal(np.concatenate(parts), rows)
