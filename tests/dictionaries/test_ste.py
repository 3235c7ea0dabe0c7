import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.dictionaries import (
  L1,
  DictionaryConfig,
  JumpReLU,
  Plan,
  Tanh,
  objective,
  ste,
)
from tests.dictionaries.planted import random_dictionary

BANDWIDTH = 0.5
PRE = jnp.asarray(np.random.default_rng(0).normal(0.5, 0.4, (50, 6)), jnp.float32)
THRESHOLD = jnp.linspace(0.1, 0.9, 6)
COTANGENT = jnp.asarray(np.random.default_rng(1).normal(size=PRE.shape), jnp.float32)


def pulled_back(function, to_input):
  call = lambda pre, threshold: function(pre, threshold, BANDWIDTH, to_input)
  out, back = jax.vjp(call, PRE, THRESHOLD)
  return out, *back(COTANGENT)


def window():
  return np.abs((PRE - THRESHOLD) / BANDWIDTH) < 0.5


@pytest.mark.parametrize('to_input', [False, True])
def test_the_gradient_of_the_jump_is_the_papers_formula(to_input):
  out, d_pre, d_threshold = pulled_back(ste.jump, to_input)
  near = THRESHOLD / BANDWIDTH * window() * COTANGENT
  np.testing.assert_array_equal(out, np.where(PRE > THRESHOLD, PRE, 0))
  np.testing.assert_allclose(d_threshold, -near.sum(0), rtol=1e-5)
  passed = np.where(PRE > THRESHOLD, COTANGENT, 0)
  np.testing.assert_allclose(d_pre, passed + near * to_input, rtol=1e-5)


@pytest.mark.parametrize('to_input', [False, True])
def test_the_gradient_of_the_step_is_the_papers_formula(to_input):
  out, d_pre, d_threshold = pulled_back(ste.step, to_input)
  near = window() * COTANGENT / BANDWIDTH
  np.testing.assert_array_equal(out, PRE > THRESHOLD)
  np.testing.assert_allclose(d_threshold, -near.sum(0), rtol=1e-5)
  np.testing.assert_allclose(d_pre, near * to_input, rtol=1e-5)


@pytest.mark.parametrize('term', [None, L1(1.0), Tanh(1.0)])
@pytest.mark.parametrize('impl', ['dense', 'sparse'])
def test_thresholds_learn_from_both_halves_of_the_window(term, impl):
  """A pre-activation just below its threshold says as much as one just above."""
  dictionary = random_dictionary(JumpReLU(bandwidth=1.0))
  params = dictionary.params | {'threshold': jnp.full(20, 0.5)}
  rows = jnp.asarray(np.random.default_rng(1).normal(size=(40, 8)), jnp.float32)
  config = DictionaryConfig(8, 20, JumpReLU(bandwidth=1.0))

  def forward_of(params):
    step = jnp.zeros((), jnp.int32)
    idle = jnp.zeros(20, jnp.int32)
    return objective.run(config, params, rows, idle, step, plan=Plan(impl))

  terms = (objective.SquaredError(),) if term is None else (term,)
  loss = lambda params: objective.total_loss(forward_of(params), terms)[0]
  pre = np.asarray(forward_of(params).encoded.pre)
  near = np.abs(pre - 0.5) < 0.5
  codes = np.where(pre > 0.5, pre, 0)
  norms = np.linalg.norm(params['W_dec'], axis=1)
  by_code = {
    'mse': 2 * (codes @ params['W_dec'] + params['b_dec'] - rows) @ params['W_dec'].T,
    'l1': norms,
    'tanh': 4 * norms * (1 - np.tanh(4 * norms * codes) ** 2),
  }[terms[0].name]
  expected = -np.sum(0.5 * near * by_code, 0) / len(rows)
  assert (near & (codes == 0)).any()
  assert (near & (codes > 0)).any()
  got = jax.grad(loss)(params)['threshold']
  np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_thresholds_below_zero_pass_no_negative_values():
  pre = jnp.array([[-0.5, 0.5, -2.0]])
  np.testing.assert_array_equal(
    ste.jump(pre, jnp.full(3, -1.0), 0.1, False), [[0, 0.5, 0]]
  )
