"""Causal tracing is noise on the subject, with clean states restored, averaged."""

import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import circuits, edits

SUBJECT = np.zeros((2, 6), bool)
SUBJECT[0, 1:3] = SUBJECT[1, 2] = True


def trace(setting, site='resid_post', subject=SUBJECT, **options):
  options = {'metric': setting.metric, 'progress': False, 'samples': 3} | options
  given = setting.model, setting.params, setting.base, subject, site
  return circuits.causal_trace(*given, **options)


def by_hand(setting, site, layers, position, samples=3, noise=3.0):
  """The mean metric over draws of noise, one run after the other."""
  _, acts = setting.apply(setting.base)
  embed = np.asarray(acts['embed'])
  sigma = embed[SUBJECT].std()
  draws = np.random.default_rng(0).standard_normal((samples, *embed.shape))
  values = []
  for draw in draws:
    noisy = (noise * sigma * SUBJECT[..., None] * draw).astype(np.float32)
    todo = {'embed': edits.Add(noisy)}
    if layers is not None:
      mask = edits.select(site, acts[site].shape, layer=layers, position=position)
      todo[site] = edits.Replace(acts[site], jnp.asarray(mask))
    values.append(float(setting.metric(*setting.apply(setting.base, todo))))
  return np.mean(values)


def test_a_trace_is_the_mean_of_restored_runs(setting):
  result = trace(setting)
  assert result.axes == ('layer', 'position')
  assert float(result.base) == pytest.approx(by_hand(setting, '', None, 0), abs=1e-4)
  clean = setting.metric(*setting.apply(setting.base))
  assert float(result.source) == pytest.approx(float(clean), abs=1e-5)
  for layer, position in ((0, 1), (1, 4), (2, 5)):
    expected = by_hand(setting, 'resid_post', layer, position)
    got = float(result.at(layer=layer, position=position))
    assert got == pytest.approx(expected, abs=1e-4)
  # The last position's final state is all that this metric reads.
  assert float(result.at(layer=2, position=5)) == pytest.approx(float(clean), abs=1e-4)
  assert abs(float(result.base - clean)) > 1e-3


@pytest.mark.slow
def test_a_trace_in_windows_restores_neighbouring_layers(setting):
  result = trace(setting, 'mlp_out', window=3)
  expected = by_hand(setting, 'mlp_out', [0, 1, 2], 3)
  assert float(result.at(layer=1, position=3)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_without_noise_nothing_is_lost(setting):
  result = trace(setting, noise=0.0, samples=2)
  np.testing.assert_allclose(result.values, float(result.source), atol=1e-5)


@pytest.mark.slow
def test_any_metric_is_averaged_over_the_samples(setting):
  answers = np.array([3, 4])
  log_probability = circuits.log_probability(answers)
  each = circuits.log_probability(answers, per_example=True)
  one, many = trace(setting, metric=log_probability), trace(setting, metric=each)
  assert many.values.shape == (3, 6, 2)
  np.testing.assert_allclose(many.values.mean(-1), one.values, atol=1e-5)


def test_a_subject_that_is_not_there_is_refused(setting):
  with pytest.raises(ValueError, match='0 tokens chosen'):
    trace(setting, subject=np.zeros((2, 6), bool))
