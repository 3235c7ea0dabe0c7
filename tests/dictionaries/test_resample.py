import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from interp_jax.dictionaries import (
  Autoencoder,
  Crosscoder,
  DictionaryConfig,
  Gated,
  JumpReLU,
  ReLU,
  Resample,
  Transcoder,
)
from interp_jax.dictionaries.resample import resample
from tests.slow import slow_but

WIDTH, FEATURES, ROWS = 6, 12, 10
DEAD = np.arange(FEATURES) % 4 == 2
SETTINGS = Resample(every=5, until=50, dead_after=100)


def draw(shape, seed):
  return jnp.asarray(np.random.default_rng(seed).normal(1, 1, shape), jnp.float32)


def started_again(config, settings=SETTINGS, seed=0, dead=DEAD):
  """Parameters, Adam's state and counters before and after, and the rows."""
  is_shape = lambda shape: isinstance(shape, tuple)
  params = jax.tree.map(lambda s: draw(s, 1), config.shapes(), is_leaf=is_shape)
  adam = optax.adam(1e-3)
  _, state = jax.jit(adam.update)(params, adam.init(params), params)
  inputs = draw((ROWS, *config.in_shape), 2)
  targets = draw((ROWS, *config.out_shape), 3)
  error = jnp.zeros((ROWS, *config.out_shape)).at[0].set(1)
  idle = jnp.where(dead, 101, 100).astype(jnp.int32)
  after = jax.jit(resample, static_argnums=(0, 1))(
    settings,
    config,
    params,
    state,
    idle,
    inputs,
    targets,
    error,
    jax.random.key(seed),
  )
  return (params, state, idle), after, (inputs, targets)


def features_first(name, leaf):
  return leaf if name == 'W_dec' else np.moveaxis(np.asarray(leaf), -1, 0)


CONFIGS = {
  'autoencoder': DictionaryConfig(WIDTH, FEATURES, ReLU()),
  'tied': DictionaryConfig(WIDTH, FEATURES, ReLU(), Autoencoder(tied=True)),
  'gated': DictionaryConfig(WIDTH, FEATURES, Gated()),
  'jumprelu': DictionaryConfig(WIDTH, FEATURES, JumpReLU(0.3)),
  'transcoder': DictionaryConfig(WIDTH, FEATURES, ReLU(), Transcoder(use_skip=True)),
  'crosscoder': DictionaryConfig(WIDTH, FEATURES, ReLU(), Crosscoder(2)),
}


@pytest.mark.parametrize('name', slow_but(CONFIGS, 'transcoder', 'gated'))
def test_living_features_are_left_alone_and_the_dead_forgotten(name):
  config = CONFIGS[name]
  (params, state, _), (fresh, fresh_state, idle), _ = started_again(config)
  for key in params:
    if key in ('b_dec', 'W_skip'):
      np.testing.assert_array_equal(fresh[key], params[key])
      continue
    before, after = (features_first(key, tree[key]) for tree in (params, fresh))
    np.testing.assert_array_equal(after[~DEAD], before[~DEAD])
    assert (after[DEAD] != before[DEAD]).any()
  for moments in ('mu', 'nu'):
    before, after = (getattr(s[0], moments) for s in (state, fresh_state))
    for key in before:
      if key in ('b_dec', 'W_skip'):
        np.testing.assert_array_equal(after[key], before[key])
        continue
      leaf = features_first(key, after[key])
      assert not np.asarray(leaf)[DEAD].any()
      np.testing.assert_array_equal(
        leaf[~DEAD], features_first(key, before[key])[~DEAD]
      )
  assert fresh_state[0].count == state[0].count
  np.testing.assert_array_equal(idle, np.where(DEAD, 0, 100))


@pytest.mark.parametrize('name', ['autoencoder', 'transcoder', 'crosscoder'])
def test_a_new_feature_is_the_direction_of_the_example_with_the_error(name):
  config = CONFIGS[name]
  only = np.arange(FEATURES) == 2
  (params, _, _), (fresh, _, _), (inputs, targets) = started_again(config, dead=only)
  # Only the first example has an error.
  norm = lambda rows: np.linalg.norm(np.asarray(rows).reshape(len(rows), -1), axis=1)
  centre = params['b_dec'] if config.wiring.reconstructs else 0
  for key, example in (
    ('W_dec', targets[0] - params['b_dec']),
    ('W_enc', inputs[0] - centre),
  ):
    rows, before = (features_first(key, tree[key]) for tree in (fresh, params))
    size = norm(before[~only]).mean() * (SETTINGS.factor if key == 'W_enc' else 1)
    expected = size * np.asarray(example) / np.linalg.norm(example)
    np.testing.assert_allclose(rows[2], expected, rtol=1e-4, atol=1e-5)


def test_a_threshold_starts_again_too():
  _, (fresh, _, _), _ = started_again(CONFIGS['jumprelu'])
  np.testing.assert_allclose(fresh['threshold'][DEAD], 0.3, rtol=1e-6)


def test_examples_are_drawn_by_the_power_of_their_error():
  """Over many draws, frequencies are proportional to `||error||^power`."""
  error = jnp.asarray([[1.0], [2.0], [3.0]])
  config = DictionaryConfig(1, 2, ReLU())
  params = {
    'W_enc': jnp.ones((1, 2)),
    'W_dec': jnp.ones((2, 1)),
    'b_enc': jnp.zeros(2),
    'b_dec': jnp.zeros(1),
  }
  inputs = jnp.asarray([[1.0], [10.0], [100.0]])
  settings = Resample(1, 1, 0, factor=1.0, power=2.0, raw=True)
  idle = jnp.asarray([1, 0], jnp.int32)

  def drawn(key):
    out = resample(settings, config, params, (), idle, inputs, inputs, error, key)
    return out[0]['W_enc'][0, 0]

  values = jax.vmap(drawn)(jax.random.split(jax.random.key(0), 4000))
  shares = [(np.abs(values - x) < 0.1 * x).mean() for x in (1, 10, 100)]
  np.testing.assert_allclose(shares, np.array([1, 4, 9]) / 14, atol=0.03)


def test_no_more_features_start_again_than_there_are_examples_and_all_may():
  many = np.ones(FEATURES, bool)
  _, (fresh, _, idle), _ = started_again(CONFIGS['autoencoder'], dead=many)
  assert (np.asarray(idle) == 0).sum() == ROWS
  norms = np.linalg.norm(fresh['W_dec'], axis=1)
  assert (norms > 0.1).all()
