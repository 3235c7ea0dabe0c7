"""Probes as functions of activations, and their directions as edits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import edits, probes
from interp_jax.testing import tiny_model
from tests.probes.rows import some_probes


def test_a_contrast_is_the_difference_of_logits_of_raw_activations(float64):
  probe = some_probes()
  x = np.random.default_rng(0).normal(3, 5, (3, 7, 6))
  logits = probe(x)
  assert logits.shape == (3, 7, 2, 3)
  w, b = probe.contrast(1, 2, 0)
  reading = np.einsum('lnd,ld->ln', x, w) + np.asarray(b)[:, None]
  np.testing.assert_allclose(reading, logits[..., 1, 2] - logits[..., 1, 0])
  w, b = probe.contrast(0, 1)
  reading = np.einsum('lnd,ld->ln', x, w) + np.asarray(b)[:, None]
  rest = (logits[..., 0, 0] + logits[..., 0, 2]) / 2
  np.testing.assert_allclose(reading, logits[..., 0, 1] - rest)


def test_a_direction_is_of_unit_length_and_along_the_gradient(float64):
  probe = some_probes()
  directions = probe.directions(0, 2, 1)
  np.testing.assert_allclose(jnp.linalg.norm(directions, axis=-1), 1)
  reading = lambda x: (probe(x)[..., 0, 2] - probe(x)[..., 0, 1]).sum()
  slope = jax.grad(reading)(jnp.ones((3, 6)))
  unit = slope / jnp.linalg.norm(slope, axis=-1, keepdims=True)
  np.testing.assert_allclose(directions, unit)


def test_a_direction_as_an_edit_turns_the_reading_around():
  model, params = tiny_model(layers=3)
  probe = some_probes(width=model.cfg.width)
  tokens = jnp.arange(10).reshape(2, 5)
  run = jax.jit(lambda todo: model.apply({'params': params}, tokens, todo)[1])
  w, b = probe.contrast(1, 0, 2)
  direction = probe.directions(1, 0, 2)
  before = run({})['resid_post']  # [L, B, T, D]
  for layer in range(3):
    here = np.arange(3)[:, None, None, None] == layer
    reading = before[layer] @ w[layer] + b[layer]
    amount = -2 * reading / jnp.linalg.norm(w[layer])
    change = amount[None, ..., None] * direction[:, None, None]
    after = run({'resid_post': edits.steer(change, here)})['resid_post']
    logits = probe(after)[layer, ..., 1, :]
    np.testing.assert_allclose(logits[..., 0] - logits[..., 2], -reading, rtol=1e-3)


def test_a_hidden_layer_bends_what_is_read():
  params = {
    'W_in': np.array([[[1.0, -1.0]]]),
    'b_in': np.zeros((1, 2)),
    'W_out': np.array([[[[0.0, 1.0]], [[0.0, 1.0]]]]),
    'b_out': np.array([[[1.0, 0.0]]]),
  }
  outside = probes.Probes(params, np.zeros((1, 1)), np.ones((1, 1)))
  assert outside.kind == 'mlp'
  said = outside.predict(np.array([[[-2.0], [-0.5], [0.5], [2.0]]]))
  np.testing.assert_array_equal(said[0, :, 0], [1, 0, 0, 1])  # Whether |x| > 1.
  with pytest.raises(ValueError, match='no one direction'):
    outside.directions(0, 1)


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ((2, 0), 'question 2 is not there; valid are 0 to 1'),
    ((0, 3), 'positive class 3'),
    ((0, 0, -1), 'negative class -1'),
    ((0, 1, 1), 'with itself'),
  ],
)
def test_a_contrast_that_is_not_there_is_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    some_probes().contrast(*arguments)


def test_activations_of_another_width_or_depth_are_refused():
  for shape in ((3, 4, 5), (2, 4, 6)):
    with pytest.raises(ValueError, match=r'L, D = \(3, 6\)'):
      some_probes()(np.zeros(shape))


@pytest.mark.parametrize('kind', ['linear', 'mlp'])
def test_saved_probes_are_read_back(kind, tmp_path):
  probe = some_probes()
  if kind == 'mlp':
    params = {**probe.params, 'W_in': np.ones((3, 6, 6)), 'b_in': np.ones((3, 6))}
    probe = probes.Probes(params, probe.mean, probe.scale)
  probe = jax.tree.map(np.float32, probe)
  probes.save_probes(tmp_path / 'probes', probe, {'questions': ['color', 'taste']})
  back, metadata = probes.load_probes(tmp_path / 'probes')
  assert metadata == {'questions': ['color', 'taste']}
  assert back.kind == kind
  for one, other in zip(jax.tree.leaves(probe), jax.tree.leaves(back), strict=True):
    np.testing.assert_array_equal(one, other)
  (tmp_path / 'probes' / 'config.json').write_text('{"format": "other"}')
  with pytest.raises(ValueError, match='no probes'):
    probes.load_probes(tmp_path / 'probes')
