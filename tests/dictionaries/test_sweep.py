"""Many dictionaries in one program are the dictionaries that each would be alone."""

import jax
import numpy as np
import pytest

from interp_jax import dictionaries, training
from interp_jax.dictionaries import sweep as sweep_lib
from tests.dictionaries.architectures import ARCHITECTURES

MEMBERS = dictionaries.grid(
  {'seed': (0, 1), 'learning_rate': (1e-3, 1e-2), 'activation.k': (2, 3)}
)


def train(architecture, members, folder, steps=6, **given):
  return dictionaries.train_sweep(
    architecture.config,
    architecture.settings(steps=steps),
    members,
    architecture.batches(),
    architecture.rows(),
    folder,
    held_out=architecture.rows(),
    progress=False,
    **given,
  )


@pytest.fixture(scope='module', params=['map', 'vmap'])
def swept(request, tmp_path_factory):
  folder = tmp_path_factory.mktemp(request.param)
  return train(ARCHITECTURES['topk'], MEMBERS, folder, over=request.param)


@pytest.mark.parametrize('i', [0, 3, 6])
def test_a_member_is_what_it_would_be_alone(swept, tmp_path, i):
  architecture = ARCHITECTURES['topk']
  config, settings = sweep_lib.member_config(
    architecture.config, architecture.settings(steps=6), MEMBERS[i]
  )
  alone = dictionaries.train(
    config,
    settings,
    architecture.batches(),
    architecture.rows(),
    tmp_path,
    held_out=architecture.rows(),
    progress=False,
  )
  assert swept.dictionaries[i].config == alone.dictionary.config
  assert swept.metrics[i]['fvu'] == pytest.approx(alone.metrics['fvu'], rel=1e-4)
  pairs = zip(
    jax.tree.leaves(swept.dictionaries[i].params),
    jax.tree.leaves(alone.dictionary.params),
    strict=True,
  )
  for a, b in pairs:
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_coefficients_differ_between_members_and_do_what_they_should(tmp_path):
  members = dictionaries.grid({'terms.l1.coefficient': (0.01, 1.0, 100.0)})
  result = train(ARCHITECTURES['relu'], members, tmp_path, steps=30)
  l0 = [scores['l0'] for scores in result.metrics]
  assert l0[0] > l0[1] > l0[2]


def test_a_member_that_diverges_is_frozen_and_does_not_stop_the_others(tmp_path):
  members = [{'terms.l1.coefficient': c} for c in (0.1, float('inf'))]
  result = train(ARCHITECTURES['relu'], members, tmp_path)
  log = training.read_metrics(tmp_path / 'metrics.jsonl', 'train')
  assert log[-1]['skipped'] == [0.0, 1.0]
  assert np.isfinite(result.dictionaries[1].params['W_dec']).all()
  assert result.metrics[0]['fvu'] < result.metrics[1]['fvu']


def test_a_sweep_resumes_with_its_bits(tmp_path):
  architecture, members = ARCHITECTURES['batchtopk'], MEMBERS[:2]
  whole = train(architecture, members, tmp_path / 'whole', steps=10)
  for steps in (5, 10):
    settings = architecture.settings(steps=10, checkpoint_every=5)
    batches = architecture.batches()
    if steps == 5:
      batches = Ends(batches, 7)
    try:
      parts = dictionaries.train_sweep(
        architecture.config,
        settings,
        members,
        batches,
        architecture.rows(),
        tmp_path / 'parts',
        progress=False,
      )
    except KeyboardInterrupt:
      continue
  for a, b in zip(
    jax.tree.leaves(whole.state), jax.tree.leaves(parts.state), strict=True
  ):
    np.testing.assert_array_equal(a, b)


class Ends:
  """Batches that end in an interrupt."""

  def __init__(self, batches, after):
    self._batches, self._left = batches, after
    self.get_state, self.set_state = batches.get_state, batches.set_state

  def __next__(self):
    if not self._left:
      raise KeyboardInterrupt
    self._left -= 1
    return next(self._batches)


def test_errors_say_what_members_may_differ_in(tmp_path):
  architecture = ARCHITECTURES['topk']
  with pytest.raises(ValueError, match="Did you mean 'learning_rate'"):
    train(architecture, [{'learning_rates': 1.0}], tmp_path)
  with pytest.raises(ValueError, match='must name the same settings'):
    train(architecture, [{'seed': 1}, {'activation.k': 2}], tmp_path)
  with pytest.raises(ValueError, match='at least one member'):
    train(architecture, [], tmp_path)
  with pytest.raises(ValueError, match='of 16 features'):
    train(architecture, [{'activation.k': 17}], tmp_path)
