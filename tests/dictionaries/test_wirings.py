"""Wirings against their formulas, in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.dictionaries import (
  Autoencoder,
  Crosscoder,
  CrossLayerTranscoder,
  Dictionary,
  DictionaryConfig,
  Plan,
  ReLU,
  TopK,
  Transcoder,
  objective,
)
from tests.slow import slow_but

D, F, N, ROWS = 5, 11, 3, 7


def draw(config, seed=0):
  rng = np.random.default_rng(seed)
  is_shape = lambda shape: isinstance(shape, tuple)
  return jax.tree.map(lambda s: rng.normal(size=s), config.shapes(), is_leaf=is_shape)


def rectified(pre, activation):
  codes = np.maximum(pre, 0)
  if isinstance(activation, TopK):
    kth = np.sort(pre, -1)[..., -activation.k, None]
    codes = np.where(pre >= kth, codes, 0)
  return codes


def autoencoder(p, x, act):
  W_enc = p.get('W_enc', p['W_dec'].T)
  return rectified((x - p['b_dec']) @ W_enc + p['b_enc'], act) @ p['W_dec'] + p['b_dec']


def transcoder(p, x, act):
  skip = x @ p['W_skip'] if 'W_skip' in p else 0
  return rectified(x @ p['W_enc'] + p['b_enc'], act) @ p['W_dec'] + p['b_dec'] + skip


def crosscoder(p, x, act):
  pre = sum(x[:, s] @ p['W_enc'][s] for s in range(N)) + p['b_enc']
  codes = rectified(pre, act)
  outs = [codes @ p['W_dec'][:, s] + p['b_dec'][s] for s in range(N)]
  return np.stack(outs, 1)


def cross_layer(p, x, act):
  codes = [rectified(x[:, l] @ p['W_enc'][l] + p['b_enc'][l], act) for l in range(N)]
  out = np.tile(p['b_dec'], (len(x), 1, 1))
  for m in range(N):
    for l in range(m + 1):
      out[:, m] += codes[l] @ p['W_dec'][str(l)][:, m - l]
  return out


CASES = {
  'autoencoder': (Autoencoder(), autoencoder),
  'tied': (Autoencoder(tied=True), autoencoder),
  'transcoder': (Transcoder(out_width=4), transcoder),
  'skip transcoder': (Transcoder(out_width=4, use_skip=True), transcoder),
  'crosscoder': (Crosscoder(N), crosscoder),
  'cross layer': (CrossLayerTranscoder(N), cross_layer),
}


@pytest.mark.parametrize('activation', slow_but([ReLU(), TopK(4)], TopK(4)))
@pytest.mark.parametrize('case', CASES)
def test_a_wiring_is_its_formula(case, activation, float64):
  wiring, formula = CASES[case]
  config = DictionaryConfig(D, F, activation, wiring)
  params = draw(config)
  x = np.random.default_rng(1).normal(size=(ROWS, *config.in_shape))
  expected = formula(params, x, activation)
  dictionary = Dictionary(jax.tree.map(jnp.asarray, params), config)
  np.testing.assert_allclose(dictionary(jnp.asarray(x)), expected, rtol=1e-9)
  for impl in ('dense', 'sparse'):
    forward = objective.run(
      config,
      dictionary.params,
      jnp.asarray(x),
      jnp.zeros(config.code_shape, jnp.int32),
      jnp.zeros((), jnp.int32),
      plan=Plan(impl),
    )
    np.testing.assert_allclose(forward.outputs, expected, rtol=1e-9)


def test_a_tied_encoder_and_decoder_share_one_gradient(float64):
  config = DictionaryConfig(D, F, ReLU(), Autoencoder(tied=True))
  params = draw(config)
  x = np.random.default_rng(1).normal(size=(ROWS, D))
  free = DictionaryConfig(D, F, ReLU())

  def loss(config, params):
    idle, step = jnp.zeros(F, jnp.int32), jnp.zeros((), jnp.int32)
    forward = objective.run(config, params, jnp.asarray(x), idle, step)
    return objective.sum_squares(forward.error)

  untied = jax.tree.map(jnp.asarray, params | {'W_enc': params['W_dec'].T})
  of_free = jax.grad(lambda p: loss(free, p))(untied)
  of_tied = jax.grad(lambda p: loss(config, p))(jax.tree.map(jnp.asarray, params))
  both = of_free['W_dec'] + of_free['W_enc'].T
  np.testing.assert_allclose(of_tied['W_dec'], both, rtol=1e-9, atol=1e-12)


def test_features_of_a_crosscoder_cost_the_sum_of_their_norms():
  config = DictionaryConfig(D, F, ReLU(), Crosscoder(N))
  params = draw(config)
  norms = sum(np.linalg.norm(params['W_dec'][:, s], axis=-1) for s in range(N))
  got = config.wiring.norms(jax.tree.map(jnp.asarray, params))
  np.testing.assert_allclose(got, norms, rtol=1e-5)
