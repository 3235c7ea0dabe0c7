"""Control tasks: labels by type, and what a probe learns by heart."""

import dataclasses

import numpy as np
import pytest

from interp_jax import probes
from tests.probes.rows import QUICK


def words(seed, types, tokens, width, classes):
  """Tokens whose class is linear in their type's vector; types follow Zipf's law.

  Returns features `[1, N, D]`, labels `[N, 1]`, types `[N]`, sentences `[N]`.
  """
  rng = np.random.default_rng(seed)
  share = 1 / (10 + np.arange(types))  # As Mandelbrot has it: no type is half of all.
  of = rng.choice(types, tokens, p=share / share.sum())
  vectors = rng.normal(size=(types, width))
  classes_of = (vectors @ rng.normal(size=(width, classes))).argmax(-1)
  features = vectors[of] + 0.1 * rng.normal(size=(tokens, width))
  labels = classes_of[of][:, None]
  return features[None].astype(np.float32), labels, of, np.arange(tokens) // 20


def test_a_type_has_one_label_wherever_it_occurs_and_classes_keep_their_shares():
  rng = np.random.default_rng(0)
  types = rng.integers(0, 3000, 30_000)
  labels = rng.choice(4, (30_000, 2), p=[0.1, 0.2, 0.3, 0.4])
  control = probes.control_labels(types, labels, seed=1)
  first = {kind: row for kind, row in zip(types[::-1], control[::-1], strict=True)}
  np.testing.assert_array_equal(control, [first[kind] for kind in types])
  shares = [(control == c).mean(0) for c in range(4)]
  np.testing.assert_allclose(shares, [[p, p] for p in (0.1, 0.2, 0.3, 0.4)], atol=0.05)
  assert (control[:, 0] == control[:, 1]).mean() == pytest.approx(0.3, abs=0.05)
  assert (control[:, 0] == labels[:, 0]).mean() == pytest.approx(0.3, abs=0.05)
  other = probes.control_labels(types, labels, seed=2)
  assert (control != other).mean() > 0.5


def test_where_there_is_no_label_there_is_none_in_the_control_task():
  labels = np.array([[0, -1], [1, 0], [-1, 1], [0, 0]])
  control = probes.control_labels(np.array([5, 5, 5, 9]), labels)
  np.testing.assert_array_equal(control == -1, labels == -1)


def test_sizes_that_do_not_fit_and_questions_without_labels_are_refused(
  unchecked_types,
):
  with pytest.raises(ValueError, match=r'Give types \[N\]'):
    probes.control_labels(np.arange(3), np.zeros((4, 1), int))
  with pytest.raises(ValueError, match='Question 0 has no labels'):
    probes.control_labels(np.arange(3), np.full((3, 1), -1))


def test_selectivity_is_the_difference_of_two_runs(tmp_path):
  features, labels, types, groups = words(0, 60, 600, 16, 3)
  run = lambda: probes.selectivity(
    features, labels, types, QUICK, groups=groups, workdir=tmp_path, progress=False
  )
  result = run()
  assert result.finished
  scores = [one.scores.accuracy for one in (result.task, result.control)]
  np.testing.assert_array_equal(result.values, scores[0] - scores[1])
  np.testing.assert_array_equal(result.task.held_out, result.control.held_out)
  np.testing.assert_array_equal(run().values, result.values)
  stopped = dataclasses.replace(result, control=None)
  assert not stopped.finished
  with pytest.raises(ValueError, match='same workdir'):
    stopped.values  # noqa: B018


@pytest.mark.slow
def test_a_linear_probe_is_selective_and_a_wide_hidden_layer_is_not():
  """Hewitt & Liang's finding: what looks like knowledge may be memory."""
  features, labels, types, groups = words(0, 600, 12_000, 64, 10)
  run = lambda config: probes.selectivity(
    features, labels, types, config, groups=groups, progress=False
  )
  linear = run(probes.ProbeConfig())
  hidden = run(probes.ProbeConfig(kind='mlp', hidden=300))
  for result in (linear, hidden):
    assert result.task.scores.accuracy[0, 0] > 0.95
  assert hidden.control.scores.accuracy[0, 0] > 0.9
  assert linear.values[0, 0] - hidden.values[0, 0] >= 0.2
