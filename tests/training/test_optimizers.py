"""Which parameters each optimizer treats how."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from interp_jax.training import OptimizerConfig, make_optimizer


def make_params():
  keys = iter(jax.random.split(jax.random.key(0), 9))
  draw = lambda *shape: jax.random.normal(next(keys), shape)
  return {
    'embed': {'W_E': draw(20, 8)},
    'blocks': {
      'attn': {'W_Q': draw(3, 2, 8, 4), 'W_O': draw(3, 2, 4, 8), 'b_O': draw(3, 8)},
      'mlp': {'W_in': draw(3, 8, 16), 'W_out': draw(3, 16, 8)},
      'ln1': {'w': draw(3, 8)},
    },
  }


def updates(config, params, grads):
  optimizer = make_optimizer(config, steps=10)
  update = lambda: optimizer.update(grads, optimizer.init(params), params)[0]
  return jax.jit(update)()


PLAIN = {'warmup': 0, 'weight_decay': 0.0, 'clip': 0.0, 'learning_rate': 1.0}


def test_muon_orthogonalises_each_layer_and_head_and_leaves_the_rest_to_adam():
  params = make_params()
  found = updates(OptimizerConfig('muon', **PLAIN), params, params)
  for name, leaf in (*found['blocks']['attn'].items(), *found['blocks']['mlp'].items()):
    if name.startswith('W_'):
      singular = np.linalg.svd(np.asarray(leaf), compute_uv=False)
      # Newton-Schulz takes singular values into about 0.7 to 1.2 of a common scale.
      assert singular.max() / singular.min() < 2.5
      np.testing.assert_allclose(np.sqrt((leaf**2).mean()), 0.2, rtol=0.3)
  adam = updates(OptimizerConfig('adamw', **PLAIN), params, params)
  for path in (('embed', 'W_E'), ('blocks', 'ln1', 'w'), ('blocks', 'attn', 'b_O')):
    a, b = found, adam
    for key in path:
      a, b = a[key], b[key]
    # Muon's Adam uses Nesterov's momentum: same sign, another size in the first step.
    assert (jnp.sign(a) == jnp.sign(b)).all()


@pytest.mark.parametrize('name', ['adamw', 'muon'])
def test_only_matrices_are_decayed(name):
  params = make_params()
  zeros = jax.tree.map(jnp.zeros_like, params)
  decayed = OptimizerConfig(name, **PLAIN | {'weight_decay': 0.5})
  found = updates(decayed, params, zeros)['blocks']
  expected = -0.5 * params['blocks']['mlp']['W_in']
  np.testing.assert_allclose(found['mlp']['W_in'], expected, rtol=1e-5)
  assert not found['ln1']['w'].any()
  assert not found['attn']['b_O'].any()


def test_gradients_are_clipped_by_their_global_norm():
  params = {'W_x': jnp.ones((4, 4))}
  config = OptimizerConfig('adamw', **PLAIN | {'clip': 1.0})
  optimizer = make_optimizer(config, steps=10)
  big = jax.tree.map(lambda leaf: 100 * leaf, params)
  state = optimizer.update(big, optimizer.init(params), params)[1]
  moment = optax.tree.get(state, 'mu')['W_x']
  np.testing.assert_allclose(jnp.linalg.norm(moment), 1 - config.b1, rtol=1e-5)


def test_unknown_names_list_the_right_ones():
  with pytest.raises(ValueError, match=r"'adam'.*Valid: adamw, muon"):
    make_optimizer(OptimizerConfig(name='adam'), 1000)
  with pytest.raises(ValueError, match=r"'cosin'.*Did you mean 'cosine'"):
    make_optimizer(OptimizerConfig(schedule='cosin'), 1000)
