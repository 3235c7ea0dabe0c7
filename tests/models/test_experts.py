"""Each token passes its own experts, whoever else is in the batch."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import edits
from interp_jax.models.experts import expert_product
from interp_jax.testing import tiny_model

N, E, X, Y = 7, 4, 3, 5
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(2, N, X)).astype('float32')
CHOICE = RNG.integers(0, E, (2, N)).astype('int32')
WEIGHTS = RNG.normal(size=(E, X, Y)).astype('float32')
MIXTURE = {
  'experts': 5,
  'experts_per_token': 2,
  'gated': True,
  'mlp_bias': False,
  'act': 'silu',
}
TOKENS = RNG.integers(0, 31, (3, 6))


@pytest.fixture
def data():
  """Rows and choices of two worlds, and the experts' matrices."""
  return tuple(map(jnp.asarray, (ROWS, WEIGHTS, CHOICE)))


def by_gathering(x, w, choice):
  return jnp.einsum('nx,nxy->ny', x, w[choice])


def test_the_product_is_that_of_each_row_with_its_own_matrix(data):
  x, w, choice = data
  got = expert_product(x[0], w, choice[0])
  np.testing.assert_allclose(got, by_gathering(x[0], w, choice[0]), atol=1e-5)


def test_an_expert_that_nobody_chose_gets_no_gradient(data):
  x, w, _ = data
  choice = jnp.zeros(N, int)
  gradient = jax.grad(lambda w: expert_product(x[0], w, choice).sum())(w)
  assert np.abs(gradient[0]).max() > 0
  np.testing.assert_array_equal(gradient[1:], 0)


@pytest.mark.parametrize('weights_too', [False, True])
def test_mapped_over_worlds_it_is_the_product_of_each_world(data, weights_too):
  x, w, choice = data
  w = jnp.stack([w, w + 1]) if weights_too else w
  axes = (0, 0 if weights_too else None, 0)
  got = jax.jit(jax.vmap(expert_product, axes))(x, w, choice)
  want = jax.vmap(by_gathering, axes)(x, w, choice)
  np.testing.assert_allclose(got, want, atol=1e-5)


def test_gradients_of_worlds_are_those_of_the_gathered_product(data):
  def gradients(product):
    def loss(x, w, choice):
      return (product(x, w, choice) ** 2).sum()

    return jax.jit(jax.vmap(jax.grad(loss, (0, 1)), (0, None, 0)))(*data)

  chex.assert_trees_all_close(
    gradients(expert_product), gradients(by_gathering), atol=1e-4
  )


def test_a_mixture_of_equal_experts_is_one_mlp():
  model, params = tiny_model(**MIXTURE)
  experts = params['blocks']['experts']
  for kind in ('W_gate', 'W_in', 'W_out'):
    experts[kind] = jnp.broadcast_to(experts[kind][:, :1], experts[kind].shape)
  options = {k: v for k, v in MIXTURE.items() if not k.startswith('experts')}
  dense, _ = tiny_model(**options)
  mlp = {kind: experts[kind][:, 0] for kind in ('W_gate', 'W_in', 'W_out')}
  blocks = {k: v for k, v in params['blocks'].items() if k != 'experts'}
  same = {**params, 'blocks': {**blocks, 'mlp': mlp}}
  got, acts = model.apply({'params': params}, TOKENS)
  want, _ = dense.apply({'params': same}, TOKENS)
  np.testing.assert_allclose(got, want, atol=1e-4)
  assert len(np.unique(acts['expert_choices'])) > 2


def test_the_output_is_the_weighted_sum_of_the_experts_outputs():
  model, params = tiny_model(**MIXTURE)
  acts = model.apply({'params': params}, TOKENS)[1]
  total = (acts['expert_out'] * acts['expert_weights'][..., None]).sum(-2)
  np.testing.assert_allclose(acts['mlp_out'], total, atol=1e-5)
  np.testing.assert_allclose(acts['expert_weights'].sum(-1), 1, atol=1e-6)


def test_a_token_has_the_same_experts_alone_as_in_a_batch():
  model, params = tiny_model(**MIXTURE)
  run = jax.jit(model.apply)
  logits, acts = run({'params': params}, TOKENS)
  for row in range(len(TOKENS)):
    alone, own = run({'params': params}, TOKENS[row : row + 1])
    np.testing.assert_allclose(alone[0], logits[row], atol=1e-5)
    chosen = acts['expert_choices'][:, row]
    np.testing.assert_array_equal(own['expert_choices'][:, 0], chosen)


def test_choosing_other_experts_by_an_edit_routes_the_tokens_there():
  model, params = tiny_model(**MIXTURE)
  acts = model.apply({'params': params}, TOKENS)[1]
  asked = (np.asarray(acts['expert_choices']) + 1) % 5
  edit = {'expert_choices': edits.Replace(jnp.asarray(asked))}
  edited = model.apply({'params': params}, TOKENS, edit)[1]
  np.testing.assert_array_equal(edited['expert_choices'], asked)
  x, w = edited['ln2.normalized'], params['blocks']['experts']['W_gate']
  layers = np.arange(3)[:, None, None, None]
  want = np.einsum('lbtd,lbtcdm->lbtcm', x, np.asarray(w)[layers, asked])
  np.testing.assert_allclose(edited['expert_pre'], want, atol=1e-4)


def test_a_sweep_over_experts_is_one_program():
  model, params = tiny_model(**MIXTURE)

  def without(expert):
    def logits(choices):
      chosen = (choices == expert)[..., None]
      edit = {'expert_out': edits.zero_ablate(chosen)}
      return model.apply({'params': params}, TOKENS, edit)[0]

    return logits(model.apply({'params': params}, TOKENS)[1]['expert_choices'])

  swept = jax.jit(jax.vmap(without))(jnp.arange(5))
  for expert in range(5):
    np.testing.assert_allclose(swept[expert], without(expert), atol=1e-5)
