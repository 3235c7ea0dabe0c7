"""Metrics on logits whose answers are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import circuits
from interp_jax.circuits.worlds import sites_read


@pytest.fixture
def logits():
  return jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 5)), jnp.float32)


RIGHT, WRONG = np.array([0, 1, 2]), np.array([4, 4, 0])


def test_logit_difference_reads_the_last_position(logits):
  each = circuits.logit_difference(RIGHT, WRONG, per_example=True)(logits, {})
  last = np.asarray(logits[:, -1])
  np.testing.assert_allclose(each, last[[0, 1, 2], RIGHT] - last[[0, 1, 2], WRONG])
  mean = circuits.logit_difference(RIGHT, WRONG)(logits, {})
  assert float(mean) == pytest.approx(float(each.mean()))


def test_log_probability_is_that_of_the_softmax(logits):
  each = circuits.log_probability(RIGHT, per_example=True)(logits, {})
  expected = jax.nn.log_softmax(logits[:, -1])[np.arange(3), RIGHT]
  np.testing.assert_allclose(each, expected, rtol=1e-6)


def test_the_divergence_from_itself_is_zero_and_from_others_positive(logits):
  divergence = circuits.kl_to(logits)
  assert float(divergence(logits, {})) == pytest.approx(0, abs=1e-6)
  assert float(divergence(logits[::-1], {})) > 0.1
  # An offset of all logits is the same prediction.
  assert float(divergence(logits + 3, {})) == pytest.approx(0, abs=1e-6)
  # The reference comes first: what it rules out, the other may predict at no cost.
  certain = jnp.array([[[50.0, 0.0]]])
  assert float(circuits.kl_to(certain)(0 * certain, {})) == pytest.approx(np.log(2))


def test_losses_are_those_of_the_next_token(logits):
  tokens = np.array([[3, 1], [0, 0], [2, 4]])
  losses = circuits.next_token_losses(tokens)(logits, {})
  expected = -jax.nn.log_softmax(logits[:, 0])[np.arange(3), tokens[:, 1]]
  np.testing.assert_allclose(losses[:, 0], expected, rtol=1e-6)
  regions = np.array([[[1], [0], [0]], [[0], [1], [1]]])
  means = circuits.region_losses(tokens, regions)(logits, {})
  expected = [losses[0, 0], losses[1:, 0].mean()]
  np.testing.assert_allclose(means, np.array(expected), rtol=1e-6)


def test_the_sites_that_a_metric_reads_are_found(logits):
  acts = {'z': jnp.ones((2, 3)), 'q': jnp.ones(4), 'embed': jnp.ones(1)}
  assert sites_read(circuits.logit_difference(RIGHT, WRONG), logits, acts) == set()
  assert sites_read(lambda logits, a: a['z'].sum() + logits.sum(), logits, acts) == {
    'z'
  }
  assert sites_read(lambda logits, a: a['q'], logits, acts) == {'q'}
  assert sites_read(lambda logits, a: a['q'] * 0 + a['embed'], logits, acts) == {
    'embed',
    'q',
  }

  def reads_one_of_what_it_computes(logits, acts):
    doubled = {site: 2 * act for site, act in acts.items()}
    return doubled['z'].sum()

  assert sites_read(reads_one_of_what_it_computes, logits, acts) == {'z'}


def test_squared_errors_are_summed_over_logits_and_averaged_over_positions():
  reference = np.zeros((2, 3, 4))
  logits = reference.copy()
  logits[0, 1] = [1, 2, 0, 0]
  per_row = circuits.squared_error_to(reference, per_example=True)(logits, {})
  np.testing.assert_allclose(per_row, [5 / 3, 0])
  np.testing.assert_allclose(circuits.squared_error_to(reference)(logits, {}), 5 / 6)
