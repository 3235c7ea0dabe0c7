"""Steps: the layout over devices and the parts of a batch change only rounding."""

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
import numpy as np
import optax
import pytest

from interp_jax import training
from interp_jax.sharding import make_mesh, shardings

TOKENS = np.random.default_rng(0).integers(0, 40, (16, 12)).astype(np.uint16)
RULES = (
  ('E$', PartitionSpec('model', None)),
  ('U$', PartitionSpec(None, 'model')),
  ('.*', PartitionSpec()),
)


def logits_fn(params, tokens):
  return jnp.tanh(params['E'][tokens]).cumsum(axis=1) @ params['U']


LOSS = training.make_loss(logits_fn)


def make_state(optimizer):
  keys = jax.random.split(jax.random.key(0))
  params = {
    'E': jax.random.normal(keys[0], (40, 8)),
    'U': jax.random.normal(keys[1], (8, 40)),
  }
  return training.create_state(params, optimizer)


def train(mesh=None, rules=None, microbatches=1, steps=2):
  optimizer = optax.adamw(1e-2)
  state, layout = make_state(optimizer), None
  if rules is not None:
    layout = shardings(mesh, rules, state)
    state = jax.device_put(state, layout)
  step = training.make_train_step(
    LOSS, optimizer, mesh, layout, microbatches=microbatches
  )
  for _ in range(steps):
    state, metrics = step(state, training.place_batch(TOKENS, mesh))
  return state, metrics


@pytest.fixture(scope='module')
def one_device():
  return train()


def assert_close(a, b):
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('model', 'rules'), [(1, None), (2, RULES), (8, RULES)])
def test_eight_devices_equal_one(one_device, model, rules):
  assert_close(train(make_mesh(model=model), rules), one_device)


def test_a_mesh_of_one_device_equals_no_mesh_bit_for_bit(one_device):
  mesh = make_mesh(devices=jax.devices()[:1])
  for x, y in zip(
    jax.tree.leaves(train(mesh)), jax.tree.leaves(one_device), strict=True
  ):
    np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


@pytest.mark.parametrize('microbatches', [4, 16])
def test_a_batch_taken_in_parts_equals_the_batch_taken_whole(one_device, microbatches):
  assert_close(train(microbatches=microbatches), one_device)


def test_parts_of_a_batch_over_devices_need_no_rows_of_other_devices(one_device):
  mesh = make_mesh()
  assert_close(train(mesh, microbatches=2), one_device)
  optimizer = optax.sgd(1.0)
  step = training.make_train_step(LOSS, optimizer, mesh, microbatches=2)
  batch = training.place_batch(TOKENS, mesh)
  compiled = step.lower(make_state(optimizer), batch).compile().as_text()
  assert 'all-to-all' not in compiled
  assert 'all-gather' not in compiled


def test_parts_of_unequal_size_are_refused():
  with pytest.raises(ValueError, match='16 rows cannot be taken in 3 parts'):
    train(microbatches=3)


def test_the_gradient_norm_that_is_logged_is_that_of_the_gradient():
  state = make_state(optax.sgd(0.0))
  grads = jax.grad(lambda params: LOSS(params, jnp.asarray(TOKENS))[0])(state.params)
  expected = np.sqrt(sum(float((g**2).sum()) for g in jax.tree.leaves(grads)))
  step = training.make_train_step(LOSS, optax.sgd(0.0))
  metrics = step(state, training.place_batch(TOKENS))[1]
  np.testing.assert_allclose(metrics['grad_norm'], expected, rtol=1e-5)


def test_any_step_function_can_be_compiled_onto_a_mesh():
  def count(state, batch):
    return state + batch.sum(), {'rows': jnp.float32(batch.shape[0])}

  mesh = make_mesh()
  step = training.compile_step(count, mesh)
  state = jax.device_put(jnp.float32(1), step_sharding(mesh))
  total, metrics = step(state, training.place_batch(np.ones((8, 2), np.float32), mesh))
  assert (float(total), float(metrics['rows'])) == (17.0, 8.0)


def step_sharding(mesh):
  return jax.sharding.NamedSharding(mesh, PartitionSpec())
