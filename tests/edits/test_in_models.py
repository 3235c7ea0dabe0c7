"""Edits on their way through a model: layers, order, splices, worlds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import edits
from interp_jax.core import site_shape
from interp_jax.testing import assert_acts_close, tiny_model

TOKENS = np.random.default_rng(0).integers(0, 31, (2, 5))
RNG = np.random.default_rng(1)


@functools.cache
def model():
  return tiny_model()


@pytest.fixture(autouse=True)
def built():
  """The model is made outside all transformations."""
  model()


@jax.jit
def run(todo):
  net, params = model()
  return net.apply({'params': params}, TOKENS, todo)


@functools.cache
def base():
  return run({})


def layers(*chosen):
  mask = np.zeros((3, 1, 1, 1), bool)
  mask[list(chosen)] = True
  return mask


def test_a_mask_over_layers_edits_those_layers_alone():
  acts = run({'mlp_out': edits.zero_ablate(layers(1))})[1]['mlp_out']
  np.testing.assert_array_equal(acts[1], 0)
  np.testing.assert_allclose(acts[0], base()[1]['mlp_out'][0], rtol=1e-6)
  assert np.all(np.any(acts[2] != 0, -1))


def test_acts_are_those_after_the_edits_in_order():
  todo = {'mlp_out': (edits.Add(1.0, layers(0)), edits.Scale(2.0, layers(0, 1)))}
  acts, want = run(todo)[1], np.array(base()[1]['mlp_out'])
  np.testing.assert_allclose(acts['mlp_out'][0], 2 * (want[0] + 1), 1e-5, 1e-5)
  written = acts['resid_mid'] + acts['mlp_out']
  np.testing.assert_allclose(acts['resid_post'], written, 1e-5, 1e-5)


def test_each_layer_and_head_has_its_own_basis():
  bases = np.linalg.qr(RNG.normal(size=(3, 1, 1, 4, 4, 1)))[0].swapaxes(-1, -2)
  z = run({'z': edits.ProjectOut(jnp.asarray(bases, jnp.float32))})[1]['z']
  inside = np.einsum('lbthk,lhrk->lbthr', z, bases[:, 0, 0])
  np.testing.assert_allclose(inside, 0, atol=1e-5)


@jax.tree_util.register_pytree_node_class
class Gain:
  """A dictionary of one parameter: `gain * x`."""

  def __init__(self, gain):
    self.gain = gain

  def __call__(self, x):
    return self.gain * x

  def tree_flatten(self):
    return (self.gain,), None

  @classmethod
  def tree_unflatten(cls, aux, leaves):
    del aux
    return cls(*leaves)


@pytest.mark.parametrize('layer', [0, 2])
def test_a_splice_is_an_edit_of_one_layer(layer):
  spliced = run({'resid_post': edits.Splice(Gain(0.5), layer)})
  scaled = run({'resid_post': edits.Scale(0.5, layers(layer))})
  np.testing.assert_allclose(spliced[0], scaled[0], rtol=1e-5, atol=1e-5)
  assert_acts_close(spliced[1], scaled[1])


@pytest.mark.parametrize('keep_error', [False, True])
def test_a_perfect_dictionary_changes_nothing(keep_error):
  splice = edits.Splice(Gain(1.0), 1, keep_error=keep_error)
  np.testing.assert_allclose(run({'post': splice})[0], base()[0], rtol=1e-5, atol=1e-5)


def test_with_its_error_term_any_dictionary_changes_nothing():
  splice = edits.Splice(Gain(0.3), 1, keep_error=True)
  np.testing.assert_allclose(run({'post': splice})[0], base()[0], rtol=1e-4, atol=1e-5)
  assert np.abs(run({'post': edits.Splice(Gain(0.3), 1)})[0] - base()[0]).max() > 0.01


def test_the_layer_of_a_splice_may_be_swept_in_one_program():
  traces = []

  @jax.jit
  def logits(layer):
    traces.append(layer)
    return run({'post': edits.Splice(Gain(0.5), layer)})[0]

  each = [logits(layer) for layer in range(3)]
  assert len(traces) == 1
  for layer in range(3):
    scaled = run({'post': edits.Scale(0.5, layers(layer))})[0]
    np.testing.assert_allclose(each[layer], scaled, rtol=1e-4, atol=1e-5)
  together = jax.jit(jax.vmap(logits))(jnp.arange(3))
  np.testing.assert_allclose(together, each, rtol=1e-4, atol=1e-5)


def test_only_the_layer_that_is_spliced_pays_for_it():
  def logits(layer):
    return run({'post': edits.Splice(Gain(0.5), layer)})[0]

  assert 'stablehlo.case' in jax.jit(logits).lower(1).as_text()


def test_a_splice_outside_the_layers_takes_no_layer():
  spliced = run({'embed': edits.Splice(Gain(0.5))})
  np.testing.assert_allclose(
    spliced[0], run({'embed': edits.Scale(0.5)})[0], 1e-5, 1e-5
  )


def test_gradients_reach_the_parameters_of_a_splice():
  def loss(gain):
    return run({'post': edits.Splice(Gain(gain), 1)})[0].sum()

  by_gain = jax.grad(loss)(0.5)
  step = 1e-2
  np.testing.assert_allclose(
    by_gain, (loss(0.5 + step) - loss(0.5 - step)) / (2 * step), rtol=2e-2
  )


def test_a_nan_behind_a_false_mask_reaches_no_logit_and_no_gradient():
  mask = np.arange(5)[:, None] == 2
  value = jnp.where(mask, 0.5, jnp.nan) * jnp.ones((3, 1, 5, 12))

  def loss(delta, value):
    todo = {'resid_mid': (edits.Add(delta), edits.Replace(value, mask))}
    logits, _ = run(todo)
    return jnp.sum(logits**2)

  zero = jnp.zeros((3, 2, 5, 12))
  got, gradients = jax.value_and_grad(loss, (0, 1))(zero, value)
  want, wanted = jax.value_and_grad(loss, (0, 1))(zero, jnp.nan_to_num(value))
  np.testing.assert_allclose(got, want)
  np.testing.assert_allclose(gradients[0], wanted[0], rtol=1e-4, atol=1e-4)
  assert np.isfinite(gradients[1]).all()
  assert np.all(np.where(mask, 0, gradients[1]) == 0)


def test_vmapped_worlds_are_a_python_loop_over_them():
  net, _ = model()
  shape = site_shape('z', net.cfg, 2, 5)
  masks, _ = edits.grid('z', shape, ('layer', 'head'))
  value = RNG.normal(size=shape).astype(np.float32)
  deltas = RNG.normal(size=(len(masks), 5, 12)).astype(np.float32)

  def world(mask, delta):
    todo = {'z': edits.Replace(value, mask), 'resid_pre': edits.Add(delta, layers(1))}
    return run(todo)

  together = jax.jit(jax.vmap(world))(masks, deltas)
  one = jax.jit(world)
  for index in range(len(masks)):
    alone = one(masks[index], deltas[index])
    here = jax.tree.map(lambda leaf, i=index: leaf[i], together)
    np.testing.assert_allclose(here[0], alone[0], rtol=1e-4, atol=1e-4)
    assert_acts_close(here[1], alone[1], rtol=1e-4, atol=1e-4)
