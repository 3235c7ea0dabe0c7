"""The next-token loss against its definition, and the held-out evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import training
from interp_jax.sharding import make_mesh

TOKENS = np.random.default_rng(0).integers(0, 7, (16, 9))
TABLE = np.random.default_rng(1).normal(size=(7, 7)).astype(np.float32)


def logits_fn(params, tokens):
  return params[tokens]


def test_the_loss_is_minus_the_log_of_the_next_tokens_softmax():
  logits = np.random.default_rng(2).normal(size=(16, 9, 7)).astype(np.float32)
  found = training.next_token_losses(jnp.asarray(logits), jnp.asarray(TOKENS))
  p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  for b, t in ((0, 0), (3, 7), (15, 4)):
    expected = -np.log(p[b, t, TOKENS[b, t + 1]])
    np.testing.assert_allclose(found[b, t], expected, rtol=1e-5)


def test_the_loss_of_short_floats_is_computed_in_float32():
  logits = jnp.full((1, 3, 1024), 100.0, jnp.bfloat16)
  losses = training.next_token_losses(logits, jnp.zeros((1, 3), jnp.int32))
  assert losses.dtype == jnp.float32
  np.testing.assert_allclose(losses, np.log(1024), rtol=1e-4)


def test_no_position_sees_the_token_after_the_next():
  def loss_at(logits):
    return training.next_token_losses(logits, jnp.asarray(TOKENS))[0, 3]

  touched = np.abs(jax.grad(loss_at)(jnp.zeros((16, 9, 7)))).sum(-1)[0] > 0
  assert touched.tolist() == [t == 3 for t in range(9)]


@pytest.mark.parametrize('mesh', [None, 'eight'])
def test_evaluation_is_the_mean_over_whole_batches(mesh):
  mesh = None if mesh is None else make_mesh()
  evaluate = training.make_evaluation(logits_fn, TOKENS, 8, mesh)
  losses = np.asarray(
    training.next_token_losses(jnp.asarray(TABLE[TOKENS]), jnp.asarray(TOKENS))
  )
  found = evaluate(TABLE)
  assert set(found) == {'held_out_loss', 'early_loss', 'late_loss'}
  np.testing.assert_allclose(found['held_out_loss'], losses.mean(), rtol=1e-5)
  np.testing.assert_allclose(found['early_loss'], losses[:, :2].mean(), rtol=1e-5)
  np.testing.assert_allclose(found['late_loss'], losses[:, -2:].mean(), rtol=1e-5)


def test_too_few_rows_for_a_batch_are_refused():
  with pytest.raises(ValueError, match='16 held-out rows do not fill a batch of 17'):
    training.make_evaluation(logits_fn, TOKENS, 17)
