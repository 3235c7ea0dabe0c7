import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import edits
from interp_jax.dictionaries import MatchingPursuit, TopK, evaluate, matching_pursuit
from interp_jax.dictionaries.matching_pursuit import pursue, use_gram
from interp_jax.dictionaries.orthogonal_pursuit import pursue_orthogonally
from tests.dictionaries.planted import random_dictionary

K = 5


@pytest.fixture(scope='module')
def decoder():
  """More directions than dimensions, of all lengths."""
  return random_dictionary(TopK(4), width=12, features=40).params


@pytest.fixture(scope='module')
def rows():
  return np.random.default_rng(5).normal(size=(9, 12)).astype(np.float32)


def chosen_greedily(residual, W_dec, k, refit):
  """One row at a time in numpy, float64: the definition."""
  residual, W_dec = np.asarray(residual, np.float64), np.asarray(W_dec, np.float64)
  lengths = np.linalg.norm(W_dec, axis=1)
  codes, x, support = np.zeros(len(W_dec)), residual, []
  for _ in range(k):
    f = int(np.argmax(W_dec @ residual / lengths))
    repeated = f in support
    support.append(f)
    if refit:
      codes[support] = np.linalg.lstsq(W_dec[support].T, x, rcond=None)[0]
    else:
      codes[f] += max(W_dec[f] @ residual, 0) / lengths[f] ** 2
    residual = x - codes @ W_dec
    if repeated:
      break
  return codes, np.linalg.norm(residual)


@pytest.mark.parametrize('orthogonal', [False, True])
def test_the_codes_are_those_of_the_definition(decoder, rows, orthogonal):
  got = MatchingPursuit(decoder, K, 0.0, orthogonal=orthogonal)
  codes, centred = got.encode(rows), rows - decoder['b_dec']
  for row, found in zip(centred, np.asarray(codes), strict=True):
    expected, _ = chosen_greedily(row, decoder['W_dec'], K, orthogonal)
    np.testing.assert_allclose(found, expected, atol=2e-5)
  left = np.linalg.norm(rows - got(rows), axis=1)
  run = pursue_orthogonally if orthogonal else pursue
  np.testing.assert_allclose(run(centred, decoder['W_dec'], K)[2], left, atol=2e-5)


def test_the_gram_matrix_chooses_the_same(decoder, rows):
  centred = rows - decoder['b_dec']
  without = pursue(centred, decoder['W_dec'], K, gram=False)
  with_it = pursue(centred, decoder['W_dec'], K, gram=True)
  np.testing.assert_array_equal(with_it[1], without[1])
  np.testing.assert_allclose(with_it[0], without[0], atol=1e-5)
  # It fits, and is made from little: many rows, few features.
  assert use_gram(4096, 8192, 32)
  assert not use_gram(16, 8192, 32)
  assert not use_gram(10**6, 65536, 32)


def test_the_refitted_residual_is_orthogonal_to_all_that_was_chosen(decoder, rows):
  got = MatchingPursuit(decoder, K, 0.0, orthogonal=True)
  residual = rows - got(rows)
  _, indices = got.encode_sparse(rows)
  products = jnp.einsum('bd,bkd->bk', residual, decoder['W_dec'][indices])
  np.testing.assert_allclose(products, 0, atol=2e-5)
  assert all(len(set(row)) == K for row in np.asarray(indices).tolist())


def test_refitting_leaves_less_and_a_complete_basis_nothing(decoder, rows):
  plain = evaluate(MatchingPursuit(decoder, K, 0.0), [rows])
  refitted = evaluate(MatchingPursuit(decoder, K, 0.0, orthogonal=True), [rows])
  assert refitted.fvu < plain.fvu
  full = evaluate(MatchingPursuit(decoder, None, 0.0, orthogonal=True), [rows])
  assert full.fvu < 1e-8
  assert full.l0 <= 12


def test_a_row_stops_as_soon_as_little_is_left(decoder, rows):
  threshold = 1.5
  got = MatchingPursuit(decoder, 12, threshold, stop_on_duplicate=False)
  values, indices = map(np.asarray, got.encode_sparse(rows))
  added = values[..., None] * np.asarray(decoder['W_dec'])[indices]
  left = np.linalg.norm((rows - decoder['b_dec'])[:, None] - added.cumsum(1), axis=-1)
  last = (values != 0).sum(1) - 1
  assert len(set(last.tolist())) > 1
  for row, step in enumerate(last):
    assert left[row, step] < threshold
    assert (left[row, :step] >= threshold).all()


def test_a_direction_may_come_back_and_its_amounts_add_up():
  # Each direction, once taken out, leaves some of the other behind.
  decoder = {'W_dec': jnp.array([[1.0, 0.0], [-0.6, 0.8]]), 'b_dec': jnp.zeros(2)}
  x = np.array([[0.2, 1.0]], np.float32)
  patient = MatchingPursuit(decoder, 6, 0.0, stop_on_duplicate=False)
  values, indices = patient.encode_sparse(x)
  assert indices.tolist() == [[1, 0, 1, 0, 1, 0]]
  sums = [values[0, 1::2].sum(), values[0, ::2].sum()]
  np.testing.assert_allclose(patient.encode(x)[0], sums, rtol=1e-6)
  # The third step adds no new feature: it counts, and is the last.
  hasty, _ = MatchingPursuit(decoder, 6, 0.0).encode_sparse(x)
  np.testing.assert_allclose(hasty[0], [*values[0, :3], 0, 0, 0], rtol=1e-6)


def test_what_points_away_from_everything_has_no_codes():
  decoder = {'W_dec': jnp.eye(3), 'b_dec': jnp.zeros(3)}
  x = -np.ones((2, 3), np.float32)
  for orthogonal in (False, True):
    got = MatchingPursuit(decoder, 2, orthogonal=orthogonal)
    np.testing.assert_array_equal(got.encode(x), 0)


def test_lengths_do_not_matter_unless_they_are_assumed(decoder, rows):
  longer = decoder | {'W_dec': decoder['W_dec'] * 3}
  one, three = MatchingPursuit(decoder, K, 0.0), MatchingPursuit(longer, K, 0.0)
  np.testing.assert_allclose(one(rows), three(rows), atol=1e-5)
  lengths = jnp.linalg.norm(decoder['W_dec'], axis=-1, keepdims=True)
  unit = decoder | {'W_dec': decoder['W_dec'] / lengths}
  assumed = MatchingPursuit(unit, K, 0.0, assume_unit=True)
  np.testing.assert_allclose(assumed(rows), one(rows), atol=1e-5)


def test_it_is_spliced_and_written_like_a_dictionary(decoder, rows, tmp_path):
  baseline = MatchingPursuit(decoder, K)
  edits.save(
    tmp_path / 'e.safetensors', {'resid_post': edits.Splice(baseline, layer=0)}
  )
  (again,) = edits.load(tmp_path / 'e.safetensors')['resid_post']
  np.testing.assert_array_equal(again.fn(rows), baseline(rows))
  batched = jax.vmap(baseline)(rows.reshape(3, 3, 12))
  np.testing.assert_allclose(batched.reshape(9, 12), baseline(rows), atol=1e-6)


def test_any_dictionary_that_gives_back_what_it_reads_has_one(decoder, rows):
  dictionary = random_dictionary(TopK(4), width=12, features=40)
  got = matching_pursuit(dictionary, max_atoms=K)
  np.testing.assert_array_equal(got(rows), MatchingPursuit(decoder, K)(rows))
  transcoder = MatchingPursuit(decoder | {'b_dec': jnp.zeros(3)})
  with pytest.raises(ValueError, match='take'):
    matching_pursuit(transcoder)
  with pytest.raises(ValueError, match='at least 1'):
    matching_pursuit(dictionary, max_atoms=0)
  with pytest.raises(ValueError, match='0 or more'):
    matching_pursuit(dictionary, residual_threshold=-1.0)
  with pytest.raises(ValueError, match='width 12'):
    got.encode(rows[:, :3])
