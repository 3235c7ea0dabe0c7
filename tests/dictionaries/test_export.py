"""What is exported computes on raw data what was trained on scaled data."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import dictionaries
from interp_jax.dictionaries import (
  AbsTopK,
  Autoencoder,
  BatchTopK,
  Crosscoder,
  CrossLayerTranscoder,
  DictionaryConfig,
  Gated,
  GroupMax,
  JumpReLU,
  ReLU,
  TopK,
  Transcoder,
  codes,
  initial,
  objective,
)
from interp_jax.dictionaries.export import export_params
from tests.dictionaries.planted import outputs_of

WIDTH, FEATURES, ROWS = 6, 12, 20
WIRINGS = {
  'autoencoder': Autoencoder(),
  'without b_dec': Autoencoder(subtract_b_dec=False),
  'tied': Autoencoder(tied=True),
  'transcoder': Transcoder(out_width=5),
  'skip transcoder': Transcoder(out_width=5, use_skip=True),
  'crosscoder': Crosscoder(3),
  'cross layer': CrossLayerTranscoder(3),
}
ACTIVATIONS = (
  ReLU(),
  Gated(),
  JumpReLU(),
  TopK(3, by_norm=True),
  TopK(3),
  AbsTopK(3, by_norm=True),
  BatchTopK(3, by_norm=True),
  BatchTopK(3),
  GroupMax(4),
)


def draw(config, seed=0):
  rng = np.random.default_rng(seed)
  is_shape = lambda shape: isinstance(shape, tuple)
  make = lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
  params = jax.tree.map(make, config.shapes(), is_leaf=is_shape)
  if 'threshold' in params:
    params['threshold'] = jnp.abs(params['threshold'])
  return params


def data_of(config):
  rng = np.random.default_rng(1)
  rows = lambda shape: rng.normal(1, 2, (ROWS, *shape)).astype(np.float32)
  inputs = rows(config.in_shape)
  sources = np.arange(1, 1 + inputs[0].size // WIDTH, dtype=np.float32)
  if inputs.ndim > 2:  # Sources of different sizes.
    inputs = inputs * sources[:, None]
  return inputs, inputs if config.wiring.reconstructs else 3 * rows(config.out_shape)


def pairs():
  """Wirings and activations that go together; few of them are quick tests."""
  quick = {
    ('transcoder', 'jumprelu'),
    ('crosscoder', 'batchtopk'),
    ('cross layer', 'topk'),
    ('autoencoder', 'gated'),
  }
  for wiring in WIRINGS:
    for activation in ACTIVATIONS:
      if wiring == 'tied' and getattr(activation, 'by_norm', False):
        continue  # Refused, see test_combinations.
      marks = () if (wiring, activation.name) in quick else pytest.mark.slow
      name = f'{wiring}, {activation}'
      yield pytest.param(wiring, activation, marks=marks, id=name)


@pytest.mark.parametrize(('wiring', 'activation'), list(pairs()))
def test_outputs_on_raw_data_are_those_of_training(wiring, activation):
  config = DictionaryConfig(WIDTH, FEATURES, activation, WIRINGS[wiring])
  by_norm = getattr(activation, 'by_norm', False)
  inputs, targets = data_of(config)
  measured = initial.measure(
    inputs, targets=None if config.wiring.reconstructs else targets
  )
  scale = {
    'inputs': jnp.asarray(measured.inputs),
    'outputs': jnp.asarray(measured.outputs),
  }
  params, step = draw(config), jnp.zeros((), jnp.int32)
  idle = jnp.zeros(config.code_shape, jnp.int32)
  run = lambda params, x: objective.run(config, params, x, idle, step)
  forward = jax.jit(run)(params, inputs * scale['inputs'])
  trained = forward.outputs / scale['outputs']
  least = None
  if isinstance(activation, BatchTopK):
    dense = codes.dense(forward.codes, ROWS, FEATURES)
    compared = dense * config.wiring.norms(params) if by_norm else dense
    # Just below the smallest that was chosen.
    least = 0.9999 * jnp.min(jnp.where(compared > 0, compared, jnp.inf))
  dictionary = export_params(config, params, scale, least)
  outputs = outputs_of(dictionary, inputs)
  np.testing.assert_allclose(outputs, trained, rtol=2e-3, atol=2e-3)
  if by_norm:
    assert not getattr(dictionary.config.activation, 'by_norm', False)


def test_folded_norms_are_one_as_the_wiring_counts_them():
  for wiring in (Autoencoder(), Crosscoder(3), CrossLayerTranscoder(2)):
    config = DictionaryConfig(WIDTH, FEATURES, ReLU(), wiring)
    folded = dictionaries.fold_norms(config, draw(config))
    np.testing.assert_allclose(wiring.norms(folded), 1, rtol=1e-5)


def test_a_feature_without_a_decoder_stays_finite_and_silent():
  config = DictionaryConfig(WIDTH, FEATURES, TopK(3))
  params = draw(config)
  params['W_dec'] = params['W_dec'].at[2].set(0)
  folded = dictionaries.fold_norms(config, params)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(folded))
  assert not folded['W_enc'][:, 2].any()
  grads = jax.grad(lambda p: config.wiring.norms(p).sum())(params)
  assert np.isfinite(grads['W_dec']).all()


def test_a_plain_activation_is_exported_as_it_is():
  config = DictionaryConfig(WIDTH, FEATURES, JumpReLU(bandwidth=0.3))
  ones = {'inputs': jnp.ones(1), 'outputs': jnp.ones(1)}
  exported = export_params(config, draw(config), ones)
  assert dataclasses.asdict(exported.config) == dataclasses.asdict(config)
