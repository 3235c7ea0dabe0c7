"""Probes from means: nearest mean, and Fisher's discriminant."""

import numpy as np
import pytest

from interp_jax import probes
from tests.probes.rows import some_rows


@pytest.fixture(scope='module')
def normal():
  """Classes with one covariance, far from round; the Bayes rule as logits."""
  rng = np.random.default_rng(0)
  means = rng.normal(size=(3, 5))
  root = rng.normal(size=(5, 5)) * np.array([0.2, 0.5, 1, 2, 4])
  labels = rng.choice(3, 4000, p=[0.6, 0.3, 0.1])
  x = (means[labels] + rng.normal(size=(4000, 5)) @ root.T * 0.5) + 30
  precision = np.linalg.inv(0.25 * root @ root.T)
  shift = x - 30
  best = shift @ precision @ means.T - np.diag(means @ precision @ means.T) / 2
  best += np.log([0.6, 0.3, 0.1])
  return x[None].astype(np.float32), labels[:, None], np.arange(4000) // 5, best


def test_without_whitening_the_nearest_mean_is_said_and_the_contrast_is_between_means():
  features, labels, groups = some_rows()
  result = probes.mean_probes(features, labels, groups=groups)
  seen = ~result.held_out
  for layer, question in ((0, 1), (1, 0)):
    x, own = features[layer].astype(np.float64), labels[:, question]
    means = np.stack([x[seen & (own == c)].mean(0) for c in range(3)])
    nearest = ((x[:, None] - means) ** 2).sum(-1).argmin(-1)
    said = result.probes.predict(features)[layer, :, question]
    np.testing.assert_array_equal(said, nearest)
    w, _ = result.probes.contrast(question, 2, 0)
    np.testing.assert_allclose(w[layer], means[2] - means[0], rtol=1e-4, atol=1e-5)


def test_with_whitening_normal_classes_are_told_apart_as_well_as_can_be(normal):
  features, labels, groups, best = normal
  result = probes.mean_probes(features, labels, groups=groups, whiten=True)
  true = labels[result.held_out, 0]
  possible = (best[result.held_out].argmax(-1) == true).mean()
  plain = probes.mean_probes(features, labels, groups=groups)
  assert result.scores.accuracy[0, 0] > possible - 0.01
  assert plain.scores.accuracy[0, 0] < possible - 0.05


def test_with_whitening_no_linear_map_of_the_activations_changes_what_is_said(normal):
  features, labels, groups, _ = normal
  turn = np.random.default_rng(1).normal(size=(5, 5)).astype(np.float32)
  one, other = (
    probes.mean_probes(x, labels, groups=groups, whiten=True, ridge=0.0).probes(x)
    for x in (features, features @ turn - 3)
  )
  np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-2)


def test_rows_without_a_label_are_left_out(normal):
  features, labels, groups, _ = normal
  held_out = probes.mean_probes(features, labels, groups=groups).held_out
  some = np.where(np.random.default_rng(0).random(labels.shape) < 0.5, labels, -1)
  moved = features + 9.0 * ((some[:, 0] == -1) & ~held_out)[None, :, None]
  fits = (
    probes.mean_probes(x, some, groups=groups, whiten=True).probes
    for x in (features, moved)
  )
  one, other = (fit.contrast(0, 1, 0) for fit in fits)
  np.testing.assert_allclose(one[0], other[0], rtol=1e-2, atol=1e-3)
  np.testing.assert_allclose(one[1], other[1], rtol=1e-2, atol=1e-2)


def test_a_class_without_rows_has_no_mean():
  features, labels, groups = some_rows()
  with pytest.raises(ValueError, match=r'Questions \[0, 1\] have no training row'):
    probes.mean_probes(features, labels, groups=groups, classes=4)


@pytest.mark.peers
def test_it_is_the_discriminant_of_scikit_learn(normal):
  analysis = pytest.importorskip('sklearn.discriminant_analysis')
  features, labels, groups, _ = normal
  result = probes.mean_probes(features, labels, groups=groups, whiten=True, ridge=0.0)
  seen = ~result.held_out
  peer = analysis.LinearDiscriminantAnalysis(solver='lsqr')
  peer.fit(features[0, seen].astype(np.float64), labels[seen, 0])
  theirs = peer.decision_function(features[0].astype(np.float64))
  ours = np.asarray(result.probes(features))[0, :, 0]
  np.testing.assert_allclose(
    ours - ours[:, :1], theirs - theirs[:, :1], rtol=1e-3, atol=1e-3
  )
