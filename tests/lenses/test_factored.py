"""A factored matrix is its product, at the price of its factors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.lenses import FactoredMatrix

pytestmark = pytest.mark.usefixtures('double')


@pytest.fixture
def stack():
  """Six matrices `[9, 7]` of rank 3 whose right factor is shared by rows of heads."""
  rng = np.random.default_rng(0)
  return FactoredMatrix(
    jnp.asarray(rng.normal(size=(2, 3, 9, 3))),
    jnp.asarray(rng.normal(size=(2, 1, 3, 7))),
  )


@pytest.fixture
def square():
  rng = np.random.default_rng(1)
  return FactoredMatrix(
    *(jnp.asarray(rng.normal(size=s)) for s in ((2, 6, 2), (2, 2, 6)))
  )


def close(actual, expected):
  np.testing.assert_allclose(actual, expected, atol=1e-11)


def test_shapes_are_those_of_the_product(stack):
  assert stack.shape == stack.AB.shape == (2, 3, 9, 7)
  assert (stack.ndim, stack.rank) == (4, 3)
  assert repr(stack) == 'FactoredMatrix(shape=(2, 3, 9, 7), rank=3)'


def test_products_are_those_of_the_whole_matrix_and_stay_factored(stack):
  rng = np.random.default_rng(2)
  left, right = rng.normal(size=(5, 9)), rng.normal(size=(7, 4))
  for product, expected in (
    (stack @ right, stack.AB @ right),
    (left @ stack, left @ stack.AB),
    (jnp.asarray(left) @ stack @ jnp.asarray(right), left @ stack.AB @ right),
  ):
    assert product.rank == 3
    close(product.AB, expected)
  close(stack @ right[:, 0], stack.AB @ right[:, 0])
  close(left[0] @ stack, left[0] @ stack.AB)


def test_a_product_of_two_has_the_smaller_rank(stack):
  rng = np.random.default_rng(3)
  for rank in (2, 5):
    other = FactoredMatrix(rng.normal(size=(7, rank)), rng.normal(size=(rank, 8)))
    product = stack @ other
    assert product.rank == min(rank, 3)
    close(product.AB, stack.AB @ other.AB)


def test_no_product_is_as_wide_as_the_matrix():
  wide = FactoredMatrix(jnp.ones((1000, 2)), jnp.ones((2, 1000)))
  work = jax.make_jaxpr(lambda m: (m.norm(), m.singular_values(), (m @ m.T).trace()))
  sizes = [v.aval.size for eqn in work(wide).eqns for v in eqn.outvars]
  assert max(sizes) <= 2000


def test_singular_values_are_those_of_the_whole_matrix(stack):
  u, s, vh = stack.svd()
  close((u * s[..., None, :]) @ vh, stack.AB)
  eye = jnp.broadcast_to(jnp.eye(3), (2, 3, 3, 3))
  close(u.mT @ u, eye)
  close(vh @ vh.mT, eye)
  expected = np.linalg.svd(stack.AB, compute_uv=False)
  close(s, expected[..., :3])
  close(stack.singular_values(), s)


@pytest.mark.parametrize(
  ('kind', 'order'), [('frobenius', 'fro'), ('spectral', 2), ('nuclear', 'nuc')]
)
def test_norms_are_those_of_the_whole_matrix(kind, order, stack):
  close(stack.norm(kind), np.linalg.norm(stack.AB, ord=order, axis=(-2, -1)))


def test_a_norm_far_below_those_of_the_factors_is_still_right():
  """What a sum of products of Gram matrices loses to cancellation."""
  with jax.enable_x64(False):
    a = np.array([[1.0, 1.0], [0.0, 1e-3], [0.0, 0.0]], np.float32)
    b = np.array([[1.0, 0.0], [-1.0, 0.0]], np.float32) * 1e3
    assert FactoredMatrix(a, b).norm() == pytest.approx(1.0, rel=1e-3)


def test_eigenvalues_are_those_of_the_whole_matrix_without_its_zeros(square):
  whole = np.linalg.eigvals(np.asarray(square.AB))
  largest = np.take_along_axis(whole, np.argsort(-abs(whole), -1), -1)[:, :2]
  close(np.sort_complex(square.eigenvalues()), np.sort_complex(largest))
  close(square.trace(), square.eigenvalues().sum(-1).real)
  close(square.diagonal(), np.diagonal(square.AB, axis1=-2, axis2=-1))


def test_transposed_scaled_and_indexed(stack):
  close(stack.T.AB, stack.AB.mT)
  close((2 * stack).AB, 2 * stack.AB)
  scales = np.arange(6.0).reshape(2, 3)
  close((stack * scales).AB, stack.AB * scales[..., None, None])
  close(stack[1, 2].AB, stack.AB[1, 2])
  close(stack[:, 1:].AB, stack.AB[:, 1:])
  close(stack[1].T[-1].AB, stack.AB[1, -1].T)
  rows = np.array([4, 0])
  close(stack.rows(rows).columns(slice(2, 5)).AB, stack.AB[..., rows, 2:5])


def test_it_goes_through_jit_vmap_and_grad(stack):
  close(jax.jit(lambda m: m.norm())(stack), stack.norm())
  full = FactoredMatrix(stack.A, stack.A.mT)
  close(jax.vmap(jax.vmap(lambda m: m.trace()))(full), full.trace())
  grad = jax.grad(lambda m: jnp.square(m.norm()).sum())(stack)
  close(grad.A, 2 * stack.AB @ stack.B.mT)


def test_what_makes_no_sense_is_refused(stack):
  with pytest.raises(ValueError, match=r'A is \(2, 3\) and B \(2, 3\)'):
    FactoredMatrix(np.ones((2, 3)), np.ones((2, 3)))
  with pytest.raises(ValueError, match='must be square'):
    stack.eigenvalues()
  with pytest.raises(ValueError, match='use `rows` and `columns`'):
    stack[0, 1, 2]
  with pytest.raises(ValueError, match='Valid: frobenius, spectral, nuclear'):
    stack.norm('fro')
