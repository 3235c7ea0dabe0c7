"""Copy suppression on heads that are planted, and what similarity of patterns means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import lenses
from interp_jax.testing import tiny_model

V, WIDTH = 40, 16


@pytest.fixture(scope='module')
def model():
  """Heads of layer 1: suppresses, copies, lowers but looks for others, random."""
  model, params = tiny_model(
    vocab_size=V,
    width=WIDTH,
    head_dim=WIDTH,
    layers=2,
    norm='rmsnorm',
    attn_only=True,
    tied=True,
  )
  rng = np.random.default_rng(0)
  rows = rng.normal(size=(V, WIDTH))
  table = rows / np.linalg.norm(rows, axis=1, keepdims=True)
  eye, noise = np.eye(WIDTH), lambda: rng.normal(size=(WIDTH, WIDTH))
  attn, ones = params['blocks']['attn'], np.ones(WIDTH)
  planted = {
    'W_Q': [eye, eye, -eye, noise()],
    'W_K': [eye, eye, eye, noise()],
    'W_V': [eye, eye, eye, noise()],
    'W_O': [-eye, eye, -eye, noise()],
  }
  for name, heads in planted.items():
    attn[name] = attn[name].at[1].set(jnp.asarray(np.stack(heads), jnp.float32))
  params['embed']['W_E'] = jnp.asarray(table, jnp.float32)
  params['ln_final']['w'] = jnp.asarray(ones, jnp.float32)
  params['blocks']['ln1']['w'] = jnp.ones((2, WIDTH))
  return model, params


def test_only_the_planted_head_suppresses_copies(model):
  model, params = model
  every = np.arange(V)
  scores = lenses.copy_suppression_scores(
    params, model.cfg, every, params['embed']['W_E'], k=2
  )
  np.testing.assert_array_equal(scores.ov[1, :3], [1, 0, 1])
  np.testing.assert_array_equal(scores.qk[1, :3], [1, 1, 0])
  assert scores.ov[1, 3] < 0.3
  assert scores.qk[1, 3] < 0.3


def test_some_tokens_are_ranked_among_all(model):
  model, params = model
  some = np.array([5, 1, 30])
  scores = lenses.copy_suppression_scores(
    params, model.cfg, some, params['embed']['W_E'][some], k=1
  )
  assert (scores.ov[1, 0], scores.qk[1, 0]) == (1, 1)
  with pytest.raises(ValueError, match='give 1 to 3'):
    lenses.copy_suppression_scores(
      params, model.cfg, some, params['embed']['W_E'][some], k=4
    )


def test_the_effective_embedding_is_the_token_alone_without_its_position(model):
  model, params = model
  some = np.array([7, 2])
  alone = lenses.effective_embedding(model, params, some)
  params = {**params, 'pos_embed': {'W_pos': 0 * params['pos_embed']['W_pos']}}
  acts = jax.jit(lambda p: model.apply({'params': p}, some[:, None])[1])(params)
  np.testing.assert_allclose(alone, acts['resid_post'][0, :, 0], atol=1e-5)


def test_similarity_of_patterns_by_hand():
  pattern = np.zeros((1, 1, 2, 3, 3), np.float32)
  pattern[0, 0, 0] = [
    [1, 0, 0],
    [1, 0, 0],
    [0, 1, 0],
  ]  # The token before, or the first.
  pattern[0, 0, 1] = [[1, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5]]
  before = lenses.previous_token_targets(np.zeros((1, 3), int))
  score = lambda **options: lenses.pattern_similarity(pattern, before, **options)[0]
  np.testing.assert_allclose(score(), [2 / 3, 0.5 / 3])
  # Without attention to the first position: 1 of 1, and 0 of 1.
  np.testing.assert_allclose(score(exclude_bos=True), [1, 0])
  np.testing.assert_allclose(score(exclude_current=True), [1, 0.5])
  # Wrong attention of each query: 1, 0, 0 and 1, 1, 2.
  np.testing.assert_allclose(score(measure='abs'), [1 - 1 / 3, 1 - 4 / 3], atol=1e-6)
  with pytest.raises(ValueError, match='mul'):
    score(measure='cosine')
