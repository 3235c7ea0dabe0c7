"""Terms of the objective are their formulas, and so are their gradients."""

import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from interp_jax.dictionaries import (
  L0,
  L1,
  AbsTopK,
  AuxK,
  BatchTopK,
  Gated,
  GateReconstruction,
  JumpReLU,
  Lp,
  Matryoshka,
  MultiTopK,
  Plan,
  PreActivation,
  ReLU,
  SquaredError,
  Tanh,
  TopK,
  codes,
  objective,
)
from tests.dictionaries.planted import random_dictionary
from tests.slow import slow_but

ROWS = np.random.default_rng(1).normal(size=(12, 8))
IDLE = np.where(np.arange(20) % 4 == 1, 1000, 3).astype(np.int32)
LP = Lp(0.5, start=2, end=8, first=1.0, last=0.5, updates=3, window=2)


def forward_of(activation, params, dtype=jnp.float64, step=0, **known):
  config = random_dictionary(activation).config
  params = jax.tree.map(lambda p: jnp.asarray(p, dtype), params)
  rows, step = jnp.asarray(ROWS, dtype), jnp.asarray(step, jnp.int32)
  return objective.run(config, params, rows, jnp.asarray(IDLE), step, **known)


def params_of(activation):
  params = random_dictionary(activation).params
  return {name: np.asarray(p, np.float64) for name, p in params.items()}


SMOOTH = [
  (ReLU(), SquaredError()),
  (ReLU(), SquaredError(0.5, over='variance')),
  (ReLU(), L1(0.3)),
  (ReLU(), L1(0.3, by_norm=False)),
  (ReLU(), Tanh(0.3)),
  (ReLU(), LP),
  (ReLU(), Matryoshka((3, 9))),
  (Gated(), GateReconstruction(frozen=False)),
  (Gated(), L1(0.3)),
  (TopK(4), L1(0.3)),
  (TopK(4), Matryoshka((3, 9))),
  (TopK(4), MultiTopK()),
  (AbsTopK(4), MultiTopK(over='variance')),
  (AbsTopK(4), L1(0.3)),
  (BatchTopK(4), SquaredError()),
  (JumpReLU(), PreActivation(0.3, dead_after=100)),
]


@pytest.mark.parametrize(
  'case', slow_but(SMOOTH, (TopK(4), MultiTopK()), (ReLU(), LP), (Gated(), L1(0.3)))
)
def test_gradients_are_differences(float64, case):
  """Where the function is smooth: no activation switches within the differences."""
  activation, term = case
  states = objective.init_states((term,))
  if isinstance(activation, JumpReLU):
    states = {}

  def value(params):
    return term(forward_of(activation, params, step=4, states=states))

  params = jax.tree.map(jnp.asarray, params_of(activation))
  if 'threshold' in params:
    params['threshold'] = jnp.abs(params['threshold'])
  check_grads(value, (params,), 1, ('rev',), 1e-5, 1e-5, 1e-7)


def test_nested_matryoshka_errors_are_those_of_masked_codes(float64):
  term, widths = Matryoshka((3, 9, 15), coefficient=0.7), (3, 9, 15)
  for activation in (ReLU(), TopK(4), BatchTopK(4)):
    for plan in (Plan('dense'), Plan('sparse')):
      dictionary = random_dictionary(activation)
      forward = forward_of(activation, params_of(activation), plan=plan)
      dense = objective.run(
        dictionary.config, forward.params, forward.inputs, forward.idle, forward.step
      )
      values = np.asarray(codes.dense(dense.codes, 12, 20))
      expected = 0.0
      for width in widths:
        masked = np.where(np.arange(20) < width, values, 0)
        out = masked @ forward.params['W_dec'] + forward.params['b_dec']
        expected += 0.7 * np.mean(np.sum((ROWS - out) ** 2, -1))
      np.testing.assert_allclose(term(forward), expected, rtol=1e-10)


def test_sampled_prefixes_follow_the_cut_off_pareto_distribution():
  term, features = Matryoshka(sampled=4, exponent=0.5), 64
  keys = jax.random.split(jax.random.key(0), 5000)
  drawn = np.asarray(jax.vmap(lambda key: term._draw(key, features))(keys)).ravel()
  assert drawn.min() == 1
  assert drawn.max() == features - 1
  # P(p >= n), of lengths with density ~ x^-1.5 between 1 and 64.
  at = np.array([2, 4, 8, 16, 32])
  expected = (at**-0.5 - features**-0.5) / (1 - features**-0.5)
  found = [(drawn >= n).mean() for n in at]
  np.testing.assert_allclose(found, expected, atol=0.015)


def test_l0_counts_and_its_shapes_are_as_written(float64):
  activation = JumpReLU(bandwidth=0.3)
  params = params_of(activation)
  params['threshold'] = np.abs(params['threshold'])
  forward = forward_of(activation, params)
  count = np.sum(np.asarray(forward.encoded.pre) > params['threshold'], -1)
  for shape, expected in (
    ('linear', count.mean()),
    ('relative', (count.mean() / 5 - 1) ** 2),
    ('quadratic', np.mean((count - 5) ** 2) * 2 / 5),
  ):
    value = L0(2.0, 5.0, shape)(forward)
    np.testing.assert_allclose(value, 2 * expected, rtol=1e-12)


def test_multi_topk_is_the_error_with_more_features_and_may_spare_the_encoder(float64):
  params = params_of(TopK(2))
  more = forward_of(TopK(6), params)
  term = MultiTopK(1.0, factor=3)
  value = term(forward_of(TopK(2), params))
  np.testing.assert_allclose(value, SquaredError()(more), rtol=1e-12)
  grads = jax.grad(lambda p: MultiTopK(gradients='decoder')(forward_of(TopK(2), p)))(
    jax.tree.map(jnp.asarray, params)
  )
  assert not grads['W_enc'].any()
  assert not grads['b_enc'].any()
  assert grads['W_dec'].any()


def test_annealing_keeps_the_penalty_as_heavy_as_it_was(float64):
  """With codes that stay, the term after an update of p is the term before it."""
  params, state = params_of(ReLU()), LP.init_state()
  values, exponents = [], []
  for step in range(12):
    forward = forward_of(ReLU(), params, step=step, states={'lp': state})
    values.append(float(LP(forward)))
    exponents.append(float(LP.exponents(step)[0]))
    state = LP.next_state(state, LP.observe(forward), step)
  assert exponents == [1.0] * 6 + [0.75] * 3 + [0.5] * 3
  np.testing.assert_allclose(values, values[0], rtol=1e-6)
  assert state['strength'] != 1


@pytest.mark.parametrize('pool', [6, 20])
def test_auxk_of_signed_codes_takes_the_largest_magnitudes(float64, pool):
  params = params_of(AbsTopK(4))
  forward = forward_of(AbsTopK(4), params)
  dead = IDLE > 100
  pre = (ROWS - params['b_dec']) @ params['W_enc'] + params['b_enc']
  size = np.where(dead, np.abs(pre), 0)
  kept = size >= np.sort(size, -1)[:, -3, None]
  e_hat = np.where(kept & dead, pre, 0) @ params['W_dec']
  expected = np.mean(np.sum((np.asarray(forward.error) - e_hat) ** 2, -1))
  term = AuxK(k=3, coefficient=1.0, dead_after=100, pool=pool)
  np.testing.assert_allclose(term(forward), expected, rtol=1e-10)


def test_ramps_rise_from_nothing_and_fall_to_nothing():
  at = lambda step: float(objective.ramp(jnp.asarray(step), 4, (10, 20)))
  assert [at(s) for s in (0, 1, 4, 9, 15, 20, 30)] == [0, 0.25, 1, 1, 0.5, 0, 0]
  assert float(objective.ramp(jnp.asarray(0))) == 1
