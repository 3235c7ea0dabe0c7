import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.dictionaries import kernels
from interp_jax.dictionaries.kernels import topk

B, D, F, K = 13, 8, 40, 5


def make(dtype=np.float32):
  rng = np.random.default_rng(0)
  shapes = {
    'x': (B, D),
    'center': (D,),
    'W_enc': (D, F),
    'b': (F,),
    'W_dec': (F, D),
    'out': (B, D),
  }
  arrays = {k: jnp.asarray(rng.normal(size=s), dtype) for k, s in shapes.items()}
  # Some selected pre-activations are negative, so that the rectifier matters.
  return arrays | {'b': arrays['b'] - 2.5}


@pytest.fixture
def arrays():
  return make()


def scalar(encode, decode):
  """A loss through encode and decode that depends on every entry of both."""

  def loss(x, center, W_enc, b, W_dec, out):
    values, *where = encode(x, center, W_enc, b)
    decoded = decode(values, *where, W_dec)
    return jnp.sum(jnp.sin(decoded) * out) + jnp.sum(values**2)

  return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3, 4)))


def plain(count, whole_batch=False):
  """As written in the papers: keeps what is not below the k-th largest."""

  def encode(x, center, W_enc, b):
    pre = (x - center) @ W_enc + b
    ranked = pre.reshape(1, -1) if whole_batch else pre
    kept = pre >= jnp.sort(ranked, -1)[:, -count][:, None]
    return (jnp.where(kept, jax.nn.relu(pre), 0),)

  return scalar(encode, lambda codes, W_dec: codes @ W_dec)


def topk_of(encode, decode):
  return scalar(lambda *args: encode(*args, K), decode)


def assert_same(one, other, tolerance=2e-5):
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
  ('impl', 'wide'), [('sparse', False), ('sparse', True), ('dense', True)]
)
def test_topk_and_its_gradients_equal_autodiff_of_plain_jnp(impl, wide):
  encode = getattr(kernels, f'{impl}_encode')
  decode = getattr(kernels, f'{impl}_decode')
  with jax.enable_x64(wide):
    arrays = make(np.float64 if wide else np.float32).values()
    got = topk_of(encode, decode)(*arrays)
    assert_same(got, plain(K)(*arrays), 1e-12 if wide else 2e-4)


def test_rows_taken_in_blocks_are_the_same_rows(arrays, monkeypatch):
  x = jnp.tile(arrays['x'], (32, 1))[:384]
  args = (x, arrays['center'], arrays['W_enc'], arrays['b'])
  whole = jax.jit(lambda *args: kernels.sparse_encode(*args, K))(*args)
  monkeypatch.setattr(topk, 'BLOCK_BYTES', 4 * F * 128)
  assert topk.block_rows(384, F) == 128
  assert_same(jax.jit(lambda *args: kernels.sparse_encode(*args, K))(*args), whole)


@pytest.mark.parametrize('wide', [False, True])
def test_batch_topk_and_its_gradients_equal_autodiff_of_plain_jnp(wide):
  with jax.enable_x64(wide):
    arrays = make(np.float64 if wide else np.float32).values()

    def encode(*args):
      codes = kernels.sparse_encode_batch(*args, K * B)
      return codes.values, codes.rows, codes.features

    def decode(values, rows, features, W_dec):
      codes = kernels.Pairs(values, rows, features)
      return kernels.sparse_decode_pairs(codes, W_dec, B)

    got = scalar(encode, decode)(*arrays)
    assert_same(got, plain(K * B, whole_batch=True)(*arrays), 1e-12 if wide else 2e-4)


@pytest.mark.parametrize('listed', [False, True])
def test_known_pre_activations_have_the_gradients_of_a_product(listed):
  """Room for more than there are: what fills the list must change nothing."""
  with jax.enable_x64(True):
    arrays = make(np.float64)
    known = kernels.look(*list(arrays.values())[:4], lambda pre: pre > 0)
    assert not known.few
    known = dataclasses.replace(known, room=100)
    assert known.few
    assert int(jnp.sum(known.product + arrays['b'] > 0)) < 100
    known = known if listed else known.all_places()

    def encode(x, center, W_enc, b):
      pre = kernels.encode_known(x, center, W_enc, b, known)
      if not listed:
        return (jax.nn.relu(pre),)
      return jax.nn.relu(pre.values), pre.rows, pre.features, pre.count

    def decode(*codes_and_W_dec):
      *codes, W_dec = codes_and_W_dec
      if not listed:
        return codes[0] @ W_dec
      return kernels.sparse_decode_pairs(kernels.Pairs(*codes), W_dec, B)

    def plain_encode(x, center, W_enc, b):
      return (jax.nn.relu((x - center) @ W_enc + b),)

    got = scalar(encode, decode)(*arrays.values())
    expected = scalar(plain_encode, lambda z, W: z @ W)(*arrays.values())
    assert_same(got, expected, 1e-12)


# Rows that are hard to select from: all groups alike; one group holds all that count;
# everything equal; few different values; not a number; signed zeros.
def hard_rows(features):
  rng = np.random.default_rng(1)
  rows = rng.normal(size=(8, features)).astype(np.float32)
  rows[1, : features // 4] += 10
  rows[2] = 1
  rows[3] = rng.integers(0, 3, features)
  rows[4, 7] = np.nan
  rows[5] = rng.choice([0.0, -0.0], features)
  rows[6, :5] = np.inf
  rows[7] = -np.inf
  return jnp.asarray(rows)


@pytest.mark.parametrize(('features', 'k'), [(320, 3), (96, 96), (1000, 1)])
def test_the_rows_selected_are_those_of_top_k_whatever_they_hold(features, k):
  rows = hard_rows(features)
  expected = np.sort(jax.lax.top_k(rows, k)[1], -1)
  select = jax.jit(kernels.select_by_index, static_argnums=1)
  # All at once, and alone: whether candidates are few is decided for a whole batch.
  for some in (slice(8), slice(1), slice(1, 2), slice(4, 5)):
    values, indices = select(rows[some], k)
    np.testing.assert_array_equal(indices, expected[some])
    np.testing.assert_array_equal(values, np.take_along_axis(rows[some], indices, 1))


def test_a_bias_given_to_the_selection_is_as_if_added_before(arrays):
  pre, bias = arrays['x'] @ arrays['W_enc'], arrays['b']
  got = jax.jit(kernels.select_by_index, static_argnums=1)(pre, K, bias)
  indices = np.sort(jax.lax.top_k(pre + bias, K)[1], -1)
  np.testing.assert_array_equal(got[1], indices)
  assert_same(got[0], np.take_along_axis(pre + bias, indices, 1))


@pytest.mark.parametrize('count', [24, 320])
def test_the_pairs_selected_are_the_largest_of_the_batch(count):
  hard = hard_rows(40)
  select = jax.jit(kernels.select_pairs, static_argnums=1)
  choose = jax.jit(kernels.batch_topk_mask, static_argnums=1)
  for pre in (hard, hard[:1] * jnp.linspace(0.2, 3, 8)[:, None]):
    expected = np.sort(jax.lax.top_k(pre.reshape(-1), count)[1])
    codes = select(pre, count)
    np.testing.assert_array_equal(codes.rows * 40 + codes.features, expected)
    np.testing.assert_array_equal(codes.values, pre.reshape(-1)[expected])
    np.testing.assert_array_equal(np.flatnonzero(choose(pre, count)), expected)


def test_more_pairs_than_there_are_is_an_error():
  with pytest.raises(ValueError, match='65 largest of 8 x 8'):
    kernels.select_pairs(jnp.zeros((8, 8)), 65)


def test_exactly_k_distinct_features_are_selected_even_among_ties():
  pre = jnp.asarray(np.random.default_rng(0).integers(0, 3, (50, F)), jnp.float32)
  values, indices = kernels.select(pre, K)
  assert all(len(set(row.tolist())) == K for row in indices)
  np.testing.assert_array_equal(values, -np.sort(-np.asarray(pre), -1)[:, :K])


@pytest.mark.parametrize('k', [1, F])
def test_k_may_be_one_or_all(arrays, k):
  args = [arrays[name] for name in ('x', 'center', 'W_enc', 'b')]
  encode = jax.jit(kernels.sparse_encode, static_argnums=4)
  dense = kernels.scatter_dense(*encode(*args, k), F)
  pre = (args[0] - args[1]) @ args[2] + args[3]
  expected = jax.nn.relu(pre) if k == F else jax.nn.relu(pre).max(-1)
  got = dense if k == F else dense.sum(-1)
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_dictionaries_can_be_vmapped_with_their_gradients(arrays):
  """Eight at once are eight, one by one."""
  batched = {k: jnp.stack([v, 0.5 * v]) for k, v in arrays.items()}
  step = topk_of(kernels.sparse_encode, kernels.sparse_decode)
  got = jax.vmap(step, (None, 0, 0, 0, 0, None))(
    *(v if k in ('x', 'out') else batched[k] for k, v in arrays.items())
  )
  for i, scale in enumerate((1, 0.5)):
    one = [v if k in ('x', 'out') else scale * v for k, v in arrays.items()]
    assert_same([leaf[i] for leaf in jax.tree.leaves(got)], jax.tree.leaves(step(*one)))


def test_values_at_the_same_index_are_added():
  values = jnp.asarray([[2.0, 0.0, 0.0], [1.0, 3.0, 0.5]])
  indices = jnp.asarray([[1, 1, 0], [2, 0, 0]])
  dense = kernels.scatter_dense(values, indices, 3)
  np.testing.assert_array_equal(dense, [[0, 2, 0], [3.5, 0, 1]])


def test_auto_is_sparse_on_cpus_and_a_wrong_name_lists_the_right_ones():
  assert kernels.resolve('auto') == 'sparse'
  with pytest.raises(ValueError, match='auto, sparse, dense'):
    kernels.resolve('spares')
