"""Toy features: the draws, the quadrature and the closed forms say the same."""

import jax
import numpy as np
import pytest

from interp_jax.tasks import toy_features

N, M = 4, 2
RNG = np.random.default_rng(0)
W = 0.7 * RNG.standard_normal((M, N))
B = 0.1 * RNG.standard_normal(N)
IMPORTANCE = RNG.uniform(0.5, 1.5, N)


@pytest.mark.parametrize('density', [0.05, 0.4, 1.0])
def test_draws_have_the_density_and_are_uniform_where_present(density):
  x = np.asarray(toy_features.sparse_features(jax.random.key(0), 40_000, N, density))
  present = x > 0
  np.testing.assert_allclose(present.mean(), density, atol=0.005)
  np.testing.assert_allclose(
    np.quantile(x[present], [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.02
  )
  mean, second = toy_features.moments(density)
  np.testing.assert_allclose([x.mean(), (x**2).mean()], [mean, second], atol=0.005)


def test_a_higher_density_adds_features_to_the_same_draw():
  rare, common = (
    np.asarray(toy_features.sparse_features(jax.random.key(1), 500, N, p)) > 0
    for p in (0.1, 0.3)
  )
  assert common[rare].all()
  assert common.sum() > rare.sum()


@pytest.mark.parametrize('density', [0.05, 0.4, 1.0])
def test_the_quadrature_has_the_moments_of_the_features(density):
  rows = toy_features.quadrature(N, (4, 3, 2, 2))
  weights = rows.weights(density)
  np.testing.assert_allclose(weights.sum(), 1, rtol=1e-6)
  mean, second = toy_features.moments(density)
  expected = np.where(np.eye(N), second, mean**2)
  np.testing.assert_allclose(weights @ rows.x, mean, rtol=1e-5)
  np.testing.assert_allclose((rows.x.T * weights) @ rows.x, expected, rtol=1e-5)


def test_sets_that_are_left_out_are_the_large_ones():
  rows = toy_features.quadrature(N, (2, 2))
  assert set(rows.active) == {0, 1, 2}
  assert 1 - rows.weights(0.1).sum() == pytest.approx(
    4 * 0.1**3 * 0.9 + 0.1**4, rel=1e-4
  )


@pytest.mark.parametrize('nodes', [(0,), (2, 2, 2, 2, 2)])
def test_nodes_that_make_no_sense_are_refused(nodes):
  with pytest.raises(ValueError, match='for 4 features: give at most 4'):
    toy_features.quadrature(N, nodes)


def test_the_quadrature_of_the_linear_model_is_its_closed_form():
  rows, density = toy_features.quadrature(N, (2, 2, 2, 2)), 0.3
  mean, second = toy_features.moments(density)
  best_bias = (np.eye(N) - W.T @ W) @ np.full(N, mean)
  loss = toy_features.reconstruction_loss(
    W, best_bias, rows.x, IMPORTANCE, rows.weights(density), slope=1.0
  )
  variance = np.full(N, second - mean**2)
  exact = toy_features.linear_loss(W, IMPORTANCE, variance)
  np.testing.assert_allclose(loss, exact, rtol=1e-5)


def test_the_closed_form_is_the_loss_over_draws():
  second = RNG.uniform(0.2, 2, N)
  x = np.sqrt(second) * RNG.standard_normal((200_000, N))
  errors = np.square(x - x @ W.T @ W) @ IMPORTANCE
  noise = errors.std() / np.sqrt(len(errors))
  exact = toy_features.linear_loss(W, IMPORTANCE, second)
  assert abs(errors.mean() - exact) < 4 * noise


def test_importance_is_that_of_the_feature_that_is_disturbed():
  pair = np.array([[1.0, 1.0]])
  loss = lambda importance, second: toy_features.linear_loss(
    pair, np.array(importance), np.array(second)
  )
  assert loss([1.0, 0.0], [0.0, 3.0]) == 3
  assert loss([0.0, 1.0], [0.0, 3.0]) == 0


@pytest.mark.parametrize('density', [0.1, 0.7])
def test_the_quadrature_of_the_relu_model_is_the_loss_over_draws(density):
  rows = toy_features.quadrature(N, (16, 12, 8, 6))
  exact = toy_features.reconstruction_loss(
    W, B, rows.x, IMPORTANCE, rows.weights(density)
  )
  x = np.asarray(toy_features.sparse_features(jax.random.key(2), 200_000, N, density))
  errors = np.square(x - np.maximum(x @ W.T @ W + B, 0)) @ IMPORTANCE
  noise = errors.std() / np.sqrt(len(errors))
  assert abs(errors.mean() - exact) < 4 * noise + 1e-3 * exact


@pytest.mark.parametrize('density', [0.1, 0.5, 1.0])
@pytest.mark.parametrize('importance', [0.3, 2.0])
def test_the_losses_of_two_features_are_those_of_the_three_models(density, importance):
  rows = toy_features.quadrature(2, (8, 40))
  mean, _ = toy_features.moments(density)
  models = {
    'drop': ([1.0, 0.0], [0.0, mean]),
    'dedicate': ([0.0, 1.0], [mean, 0.0]),
    'superpose': ([1.0, -1.0], [0.0, 0.0]),
  }
  closed = toy_features.pair_losses(density, importance)
  for name, (weights, bias) in models.items():
    loss = toy_features.reconstruction_loss(
      np.array([weights]),
      np.array(bias),
      rows.x,
      np.array([1, importance]),
      rows.weights(density),
    )
    np.testing.assert_allclose(loss, closed[name], rtol=2e-3, err_msg=name)
