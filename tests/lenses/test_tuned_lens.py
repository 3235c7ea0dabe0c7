"""The tuned lens: the identity at first, better than the logit lens when trained."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import lenses, training
from interp_jax.lenses import tuned_training
from interp_jax.sharding import make_mesh
from interp_jax.testing import tiny_model

CONFIG = lenses.TunedLensConfig(
  steps=60,
  batch_size=8,
  log_every=20,
  eval_every=0,
  checkpoint_every=30,
  optimizer=training.OptimizerConfig(
    learning_rate=0.02, warmup=5, weight_decay=0.0, b2=0.99
  ),
)


@pytest.fixture(scope='module')
def model():
  return tiny_model(norm='rmsnorm', positions='rotary', layers=2)


@pytest.fixture(scope='module')
def rows():
  return np.random.default_rng(0).integers(0, 31, (96, 12)).astype(np.uint16)


@pytest.fixture(scope='module')
def trained(model, rows, tmp_path_factory):
  folder = tmp_path_factory.mktemp('lens')
  fit = lambda: lenses.train_tuned_lens(
    *model, rows[:64], CONFIG, folder, held_out=rows[64:], progress=False
  )
  result = fit()
  assert result.finished
  return result.lens, folder, fit


def test_before_training_it_is_the_logit_lens(model, rows):
  identity = lenses.identity_lens(2, 12)
  run = jax.jit(
    lambda params: model[0].apply({'params': params}, rows[:2].astype(int))[1]
  )
  acts = run(model[1])
  tuned = lenses.tuned_lens(*model, identity, acts, [3, -1])
  np.testing.assert_array_equal(tuned, lenses.logit_lens(*model, acts, [3, -1]))


def test_divergences_are_those_that_are_scored(model, rows, trained):
  tokens = rows[64:72].astype(np.int32)
  lens, *_ = trained
  each = lenses.divergences(*model, lens, tokens)
  scores = lenses.score_lens(*model, tokens, lens, batch_size=3)
  np.testing.assert_allclose(each, scores.kl[:-1], rtol=1e-4)


def test_on_text_not_seen_every_layer_is_nearer_than_the_logit_lens(
  model, rows, trained
):
  logit = lenses.score_lens(*model, rows[64:])
  tuned = lenses.score_lens(*model, rows[64:], trained[0])
  assert (tuned.kl[:-1] < 0.8 * logit.kl[:-1]).all()
  assert (np.diff(tuned.kl) < 0).all()
  for scores in (logit, tuned):
    assert scores.kl[-1] == pytest.approx(0, abs=1e-6)
    assert scores.agreement[-1] == 1
  assert logit.loss[-1] == tuned.loss[-1]


def test_scores_are_those_of_the_whole_distributions(model, rows, trained):
  model, params = model
  tokens = rows[64:68].astype(np.int32)
  logits, acts = jax.jit(model.apply)({'params': params}, tokens)
  p = np.asarray(jax.nn.log_softmax(logits), np.float64)
  early = lenses.tuned_lens(model, params, trained[0], acts)
  q = np.asarray(jax.nn.log_softmax(early), np.float64)
  scores = lenses.score_lens(model, params, tokens, trained[0], batch_size=4)
  np.testing.assert_allclose(
    scores.kl, (np.exp(p) * (p - q)).sum(-1).mean((1, 2)), atol=1e-5
  )
  same = (p.argmax(-1) == q.argmax(-1)).mean((1, 2))
  np.testing.assert_allclose(scores.agreement, same, atol=1e-6)
  following = np.take_along_axis(q[:, :, :-1], tokens[None, :, 1:, None], -1)
  np.testing.assert_allclose(scores.loss, -following.mean((1, 2, 3)), rtol=1e-5)


def test_no_layer_learns_from_another(model, rows):
  """Each layer's divergence has a gradient in its own map only."""
  lens = lenses.identity_lens(2, 12)
  each = lambda lens: lenses.divergences(*model, lens, rows[:4].astype(np.int32))
  grads = jax.jit(jax.jacrev(each))(lens)
  sizes = jnp.abs(grads.W_lens).max((-2, -1))  # Of each layer's loss in each map.
  assert (np.diag(sizes) > 1e-3).all()
  assert sizes[0, 1] == sizes[1, 0] == 0


def test_a_finished_run_is_not_run_again_and_another_is_refused(model, rows, trained):
  lens, folder, fit = trained
  again = fit().lens
  np.testing.assert_array_equal(again.W_lens, lens.W_lens)
  steps = [r['step'] for r in training.read_metrics(folder / 'metrics.jsonl', 'train')]
  assert steps == [20, 40, 60]
  other = lenses.TunedLensConfig(steps=61, batch_size=8)
  with pytest.raises(ValueError, match='another run'):
    lenses.train_tuned_lens(*model, rows, other, folder, progress=False)


def test_devices_and_parts_change_nothing_but_rounding(model, rows):
  optimizer = training.make_optimizer(CONFIG.optimizer, 60)
  fresh = lambda: training.create_state(lenses.identity_lens(2, 12), optimizer)
  results = []
  for mesh, parts in ((None, 1), (make_mesh(devices=jax.devices()[:2]), 2)):
    step = tuned_training.make_lens_step(*model, optimizer, mesh, parts)
    state, metrics = step(fresh(), training.place_batch(rows[:8], mesh))
    results.append((state.opt_state, metrics))
  for one, many in zip(*map(jax.tree.leaves, results), strict=True):
    np.testing.assert_allclose(one, many, rtol=1e-3, atol=1e-6)


def test_a_saved_lens_is_read_back(trained, tmp_path):
  lens, *_ = trained
  lenses.save_lens(tmp_path / 'lens', lens, {'model': 'tiny'})
  back, metadata = lenses.load_lens(tmp_path / 'lens')
  assert metadata == {'model': 'tiny'}
  np.testing.assert_array_equal(back.W_lens, lens.W_lens)
  np.testing.assert_array_equal(back.b_lens, lens.b_lens)
  (tmp_path / 'lens' / 'config.json').write_text('{"format": "other"}')
  with pytest.raises(ValueError, match='no tuned lens'):
    lenses.load_lens(tmp_path / 'lens')
