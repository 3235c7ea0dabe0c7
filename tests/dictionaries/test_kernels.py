import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.dictionaries import kernels

B, D, F, K = 13, 8, 40, 5


@pytest.fixture
def arrays():
  rng = np.random.default_rng(0)
  shapes = {'x': (B, D), 'W_enc': (D, F), 'b': (F,), 'W_dec': (F, D), 'out': (B, D)}
  return {k: jnp.asarray(rng.normal(size=s), jnp.float32) for k, s in shapes.items()}


def scalar(encode, decode):
  """A loss through encode and decode that depends on every entry of both."""

  def loss(x, W_enc, b, W_dec, out):
    values, indices = encode(x, W_enc, b, K)
    return jnp.sum(jnp.sin(decode(values, indices, W_dec)) * out) + jnp.sum(values**2)

  return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))


def plain_encode(x, W_enc, b, k):
  """As written in the paper: keeps what is not below the k-th largest."""
  pre = x @ W_enc + b
  kept = pre >= jnp.sort(pre, -1)[:, -k][:, None]
  return jnp.where(kept, jax.nn.relu(pre), 0), None


def plain_decode(codes, indices, W_dec):
  del indices
  return codes @ W_dec


def assert_same(one, other):
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_gradients_of_the_sparse_kernels_equal_autodiff_of_plain_jnp(arrays):
  # Some selected pre-activations are negative, so that the rectifier matters.
  arrays['b'] = arrays['b'] - 2.5
  sparse = scalar(kernels.sparse_encode, kernels.sparse_decode)(*arrays.values())
  assert_same(sparse, scalar(plain_encode, plain_decode)(*arrays.values()))


def test_dense_kernels_equal_sparse_ones(arrays):
  sparse = scalar(kernels.sparse_encode, kernels.sparse_decode)(*arrays.values())
  assert_same(
    sparse, scalar(kernels.dense_encode, kernels.dense_decode)(*arrays.values())
  )


def test_exactly_k_distinct_features_are_selected_even_among_ties():
  pre = jnp.asarray(np.random.default_rng(0).integers(0, 3, (50, F)), jnp.float32)
  values, indices = kernels.select(pre, K)
  assert all(len(set(row.tolist())) == K for row in indices)
  np.testing.assert_array_equal(values, -np.sort(-np.asarray(pre), -1)[:, :K])


@pytest.mark.parametrize('k', [1, F])
def test_k_may_be_one_or_all(arrays, k):
  values, indices = kernels.sparse_encode(arrays['x'], arrays['W_enc'], arrays['b'], k)
  dense = kernels.scatter_dense(values, indices, F)
  pre = arrays['x'] @ arrays['W_enc'] + arrays['b']
  expected = jax.nn.relu(pre) if k == F else jax.nn.relu(pre).max(-1)
  got = dense if k == F else dense.sum(-1)
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_kernels_can_be_vmapped(arrays):
  both = jnp.stack([arrays['W_dec'], 2 * arrays['W_dec']])
  values, indices = kernels.sparse_encode(arrays['x'], arrays['W_enc'], arrays['b'], K)
  out = jax.vmap(kernels.sparse_decode, (None, None, 0))(values, indices, both)
  np.testing.assert_allclose(out[1], 2 * out[0], rtol=1e-5)


def test_auto_is_dense_on_several_devices_and_a_wrong_name_lists_the_right_ones():
  assert kernels.resolve('auto', 1) == 'sparse'
  assert kernels.resolve('auto', 8) == 'dense'
  with pytest.raises(ValueError, match='auto, sparse, dense'):
    kernels.resolve('spares')
