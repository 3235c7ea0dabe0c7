"""The metrics are SAELens's, on the same weights and the same rows."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import compat
from interp_jax.dictionaries import (
  Dictionary,
  DictionaryConfig,
  MatchingPursuit,
  ReLU,
  compare,
  detect,
  evaluate,
  log10_density,
  uniqueness,
)
from tests.dictionaries.test_recovered import Setting

torch = pytest.importorskip('torch')
sae_lens = pytest.importorskip('sae_lens')
pytestmark = pytest.mark.peers

WIDTH, FEATURES, CONTEXT, PROMPTS = 16, 48, 12, 6
HOOK = 'blocks.0.hook_resid_post'


def tensor(x):
  return torch.tensor(np.asarray(x), dtype=torch.float32)


def weights(width=WIDTH):
  rng = np.random.default_rng(0)
  W_dec = rng.normal(size=(FEATURES, width)) * rng.uniform(0.2, 1, (FEATURES, 1))
  params = {
    'W_enc': W_dec.T * 0.5 + 0.1 * rng.normal(size=(width, FEATURES)),
    'b_enc': rng.normal(size=FEATURES) * 0.3 - 0.5,
    'W_dec': W_dec,
    'b_dec': rng.normal(size=width) * 0.1,
  }
  params['b_enc'][3] = -1e4  # A dead feature.
  return {name: np.asarray(value, np.float32) for name, value in params.items()}


def theirs(params):
  """The standard SAE of SAELens with these weights."""
  width = len(params['b_dec'])
  cfg = sae_lens.StandardSAEConfig(d_in=width, d_sae=FEATURES)
  cfg.metadata.hook_name, cfg.metadata.hook_head_index = HOOK, None
  sae = sae_lens.StandardSAE(cfg)
  sae.load_state_dict({name: tensor(value) for name, value in params.items()})
  return sae


def ours(params):
  arrays = {name: jnp.asarray(value) for name, value in params.items()}
  return Dictionary(arrays, DictionaryConfig(len(params['b_dec']), FEATURES, ReLU()))


class Rows:
  """Stands in for SAELens's store and model: prompts whose activations are given."""

  def __init__(self, batches):
    self.batches, self.at = batches, 0
    self.context_size, self.store_batch_size_prompts = CONTEXT, PROMPTS

  def get_batch_tokens(self, _):
    self.at += 1
    return torch.ones(self.batches[0].shape[:2], dtype=torch.long)

  def run_with_cache(self, *_, **__):
    return None, {HOOK: tensor(self.batches[self.at - 1])}


def variance_metrics(sae, batches):
  from sae_lens.evals import get_sparsity_and_variance_metrics
  from sae_lens.training.activation_scaler import ActivationScaler

  rows = Rows(batches)
  with torch.no_grad():
    return get_sparsity_and_variance_metrics(
      sae,
      rows,
      rows,
      ActivationScaler(),
      n_batches=len(batches),
      compute_l2_norms=True,
      compute_sparsity_metrics=True,
      compute_variance_metrics=True,
      compute_featurewise_density_statistics=True,
      eval_batch_size_prompts=PROMPTS,
      model_kwargs={},
    )


@pytest.fixture(scope='module')
def batches():
  rng = np.random.default_rng(7)
  shape = (3, PROMPTS, CONTEXT, WIDTH)
  return (rng.normal(size=shape) + rng.normal(size=WIDTH)).astype(np.float32)


NAMES = {
  'explained_variance': 'explained_variance',
  'mse': 'mse',
  'cosine': 'cossim',
  'l0': 'l0',
  'l1': 'l1',
  'norm_in': 'l2_norm_in',
  'norm_out': 'l2_norm_out',
  'l2_ratio': 'l2_ratio',
}
# What depends on the batches there, and is therefore compared on one batch.
OF_ONE_BATCH = {
  'explained_variance_legacy': 'explained_variance_legacy',
  'relative_reconstruction_bias': 'relative_reconstruction_bias',
}


def test_the_evaluations_of_llms_agree(batches):
  params = weights()
  expected, by_feature = variance_metrics(theirs(params), batches)
  got = evaluate(ours(params), batches.reshape(3, -1, WIDTH))
  for name, there in NAMES.items():
    assert getattr(got, name) == pytest.approx(expected[there], rel=1e-5), name
  np.testing.assert_allclose(got.density, by_feature['feature_density'], atol=1e-6)
  assert got.density[3] == 0


def test_what_they_take_batch_by_batch_agrees_on_one_batch(batches):
  params = weights()
  rows = batches[0].reshape(-1, WIDTH)
  expected, _ = variance_metrics(theirs(params), batches[:1])
  got = evaluate(ours(params), [rows[:50], rows[50:]], center=rows.mean(0))
  for name, there in (NAMES | OF_ONE_BATCH).items():
    assert getattr(got, name) == pytest.approx(expected[there], rel=1e-5), name


def test_theirs_depend_on_the_batches_where_ours_do_not(batches):
  params = weights()
  sae, shifted = theirs(params), batches + np.arange(3)[:, None, None, None]
  whole, _ = variance_metrics(sae, shifted.reshape(1, 3 * PROMPTS, CONTEXT, WIDTH))
  parts, _ = variance_metrics(sae, shifted)
  for there in OF_ONE_BATCH.values():
    assert parts[there] != pytest.approx(whole[there], rel=1e-3), there
  center = shifted.reshape(-1, WIDTH).mean(0)
  got = evaluate(ours(params), shifted.reshape(3, -1, WIDTH), center=center)
  for name, there in OF_ONE_BATCH.items():
    assert getattr(got, name) == pytest.approx(whole[there], rel=1e-5), name


def test_the_evaluations_on_synthetic_data_agree():
  from sae_lens.synthetic import evals

  rng = np.random.default_rng(11)
  truth = rng.normal(size=(40, WIDTH)).astype(np.float32)
  acts = rng.uniform(0.5, 1.5, (5, 100, 40)) * (rng.random((5, 100, 40)) < 0.1)
  acts = acts.astype(np.float32)
  acts[0, :9] = 0  # Rows that are zero: no shrinkage is defined there.
  params = weights()
  remaining = [tensor(batch) for batch in acts]
  with torch.no_grad():
    expected = evals.eval_sae_on_synthetic_data(
      theirs(params),
      Features(tensor(truth)),
      SimpleNamespace(sample=lambda _: remaining.pop(0)),
      num_samples=500,
      batch_size=100,
    )
  dictionary = ours(params)
  got = evaluate(dictionary, [batch @ truth for batch in acts])
  assert got.shrinkage == pytest.approx(expected.shrinkage, rel=1e-5)
  assert got.explained_variance == pytest.approx(expected.explained_variance, abs=1e-5)
  assert got.l0 == pytest.approx(expected.sae_l0, rel=1e-6)
  assert got.dead_fraction * FEATURES == pytest.approx(expected.dead_latents)
  alike = compare(params['W_dec'], truth)
  assert alike.mcc == pytest.approx(expected.mcc, rel=1e-5)
  assert uniqueness(params['W_dec'], truth) == alike.uniqueness == expected.uniqueness
  # In batches of other sizes than theirs.
  acts = acts.reshape(-1, 40)
  pairs = [(part @ truth, part) for part in np.split(acts, [130, 390])]
  scores, there = detect(dictionary, pairs, truth), expected.classification
  assert scores.precision.mean() == pytest.approx(there.precision, rel=1e-5)
  assert scores.recall.mean() == pytest.approx(there.recall, rel=1e-5)
  assert scores.f1.mean() == pytest.approx(there.f1_score, rel=1e-5)
  assert scores.accuracy.mean() == pytest.approx(there.accuracy, rel=1e-5)


class Features(SimpleNamespace):
  """A feature dictionary of SAELens's without its bias."""

  def __init__(self, vectors):
    super().__init__(feature_vectors=vectors)

  def __call__(self, acts):
    return acts @ self.feature_vectors


def test_the_losses_of_a_spliced_model_agree():
  from sae_lens.evals import get_recons_loss
  from sae_lens.training.activation_scaler import ActivationScaler

  setting = Setting()
  params = weights(width=8)
  dictionary = ours(params)
  got = setting.score(dictionary, bos_id=None, layer=0, mean=np.zeros(8))
  with torch.no_grad():
    losses = get_recons_loss(
      theirs(params),
      compat.hooked_transformer(setting.model, setting.params),
      ActivationScaler(),
      torch.tensor(setting.tokens),
      compute_kl=True,
      compute_ce_loss=True,
      model_kwargs={'prepend_bos': False},
    )
  # The last position predicts nothing that is known; their KL is of all positions.
  means = {name: float(value[:, :8].mean()) for name, value in losses.items()}
  assert got.ce['clean'] == pytest.approx(means['ce_loss_without_sae'], rel=1e-5)
  assert got.ce['spliced'] == pytest.approx(means['ce_loss_with_sae'], rel=1e-5)
  assert got.ce['zero'] == pytest.approx(means['ce_loss_with_ablation'], rel=1e-5)
  assert got.kl['spliced'] == pytest.approx(means['kl_div_with_sae'], rel=1e-4)
  assert got.kl['zero'] == pytest.approx(means['kl_div_with_ablation'], rel=1e-4)


def test_the_log_density_is_what_they_keep():
  from sae_lens.training.sae_trainer import _log_feature_sparsity

  density = np.array([0, 1e-6, 0.3, 1])
  expected = _log_feature_sparsity(torch.tensor(density))
  np.testing.assert_allclose(log10_density(density), expected, rtol=1e-6)


@pytest.mark.parametrize(
  ('threshold', 'most', 'stop'),
  [(0.01, None, True), (1.0, None, True), (0.0, 7, False), (0.5, 40, False)],
)
@pytest.mark.parametrize('unit', [True, False])
def test_matching_pursuit_agrees(batches, threshold, most, stop, unit):
  from sae_lens.saes import matching_pursuit_sae as peer

  params = weights()
  W_dec, b_dec = params['W_dec'], params['b_dec']
  norms = np.linalg.norm(W_dec, axis=1, keepdims=True)
  # Not of length 1, as training may leave them: below, so that theirs converges.
  W_dec = W_dec / norms * (1 if unit else np.linspace(0.8, 1, FEATURES)[:, None])
  W_dec = W_dec.astype(np.float32)
  sae = peer.MatchingPursuitSAE(
    peer.MatchingPursuitSAEConfig(
      d_in=WIDTH,
      d_sae=FEATURES,
      residual_threshold=threshold,
      max_iterations=most,
      stop_on_duplicate_support=stop,
    )
  )
  sae.load_state_dict({'W_dec': tensor(W_dec), 'b_dec': tensor(b_dec)})
  decoder = {'W_dec': jnp.asarray(W_dec), 'b_dec': jnp.asarray(b_dec)}
  got = MatchingPursuit(decoder, most, threshold, stop, assume_unit=not unit)
  x = batches[0]
  with torch.no_grad():
    codes, out = sae.encode(tensor(x)), sae(tensor(x))
  np.testing.assert_allclose(got.encode(x), codes, atol=1e-5)
  np.testing.assert_allclose(got(x), out, atol=1e-5)
