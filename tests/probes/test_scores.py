"""Scores by hand, by all pairs, and by parts."""

import itertools

import numpy as np
import pytest

from interp_jax import probes
from interp_jax.probes import data as data_lib
from interp_jax.probes import scores as scores_lib
from tests.probes.rows import some_probes, some_rows


def test_scores_are_what_they_are_by_hand():
  confusion = np.zeros((1, 2, 3, 3), int)
  confusion[0, 0] = [[8, 2, 0], [3, 1, 0], [0, 0, 0]]
  train_counts = np.array([[4, 9, 1], [1, 1, 1]])
  scores = probes.ProbeScores(confusion, np.zeros((1, 2)), train_counts)
  np.testing.assert_array_equal(scores.labelled, [14, 0])
  np.testing.assert_allclose(scores.accuracy, [[9 / 14, np.nan]])
  np.testing.assert_allclose(scores.balanced_accuracy, [[(0.8 + 0.25) / 2, np.nan]])
  np.testing.assert_allclose(scores.majority, [4 / 14, np.nan])  # Says 1.


def test_scores_are_of_the_held_out_rows_that_have_a_label():
  features, labels, groups = some_rows()
  labels[::3, 1] = -1
  data = data_lib.check_data(features, labels, groups, None, 0.2, 0)
  probe = some_probes()
  logits = np.asarray(probe(features), np.float64)
  scores = scores_lib.score(probe, data)
  for layer, question in itertools.product(range(3), range(2)):
    kept = data.held_out & (labels[:, question] >= 0)
    true, own = labels[kept, question], logits[layer, kept, question]
    right = own.argmax(-1) == true
    assert scores.labelled[question] == kept.sum()
    assert scores.accuracy[layer, question] == pytest.approx(right.mean())
    log_probs = own - np.logaddexp.reduce(own, -1, keepdims=True)
    loss = -log_probs[np.arange(len(true)), true].mean()
    assert scores.cross_entropy[layer, question] == pytest.approx(loss, rel=1e-4)
    seen = labels[~data.held_out, question]
    most = np.bincount(seen[seen >= 0]).argmax()
    assert scores.majority[question] == pytest.approx((true == most).mean())
  in_parts = scores_lib.score(probe, data, size=50)
  np.testing.assert_array_equal(in_parts.confusion, scores.confusion)
  np.testing.assert_allclose(in_parts.cross_entropy, scores.cross_entropy, rtol=1e-5)


def test_auroc_is_the_share_of_pairs_in_order():
  rng = np.random.default_rng(0)
  values = rng.integers(0, 6, 40).astype(float)  # With many that are equal.
  labels = rng.integers(-1, 2, 40)
  ones, zeros = values[labels == 1], values[labels == 0]
  pairs = [(a > b) + (a == b) / 2 for a in ones for b in zeros]
  assert probes.auroc(values, labels) == pytest.approx(np.mean(pairs))
  assert probes.auroc(-values, labels) == pytest.approx(1 - np.mean(pairs))


def test_auroc_of_one_class_or_of_three_is_refused():
  for labels in (np.ones(4, int), np.array([0, 1, 2, 1])):
    with pytest.raises(ValueError, match='labels 0 and 1'):
      probes.auroc(np.arange(4.0), labels)
