"""Many dictionaries in one program are the dictionaries that each would be alone."""

import numpy as np
import pytest

from interp_jax import dictionaries, training
from interp_jax.dictionaries import initial
from interp_jax.dictionaries import sweep as sweep_lib
from tests.dictionaries.architectures import ARCHITECTURES
from tests.dictionaries.runs import StopsAt, assert_close, assert_same_bits

MEMBERS = dictionaries.grid(
  {'seed': (0, 1), 'learning_rate': (1e-3, 1e-2), 'activation.k': (2, 3)}
)
ALONE = (0, len(MEMBERS) - 1)  # Between these two every setting differs.


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


@pytest.fixture(scope='module')
def trained_alone(tmp_path_factory):
  """These members, by themselves."""
  architecture = ARCHITECTURES['topk']

  def train_one(member):
    config, settings = sweep_lib.member_config(
      architecture.config, architecture.settings(steps=6), member
    )
    return dictionaries.train(
      config,
      settings,
      architecture.batches(),
      architecture.rows(),
      tmp_path_factory.mktemp('alone'),
      held_out=architecture.rows(),
      progress=False,
    )

  return {i: train_one(MEMBERS[i]) for i in ALONE}


@pytest.mark.parametrize('i', ALONE)
def test_a_member_is_what_it_would_be_alone(swept, trained_alone, i):
  alone = trained_alone[i]
  assert swept.dictionaries[i].config == alone.dictionary.config
  assert swept.metrics[i]['fvu'] == pytest.approx(alone.metrics['fvu'], rel=1e-4)
  ours, own = swept.dictionaries[i].params, alone.dictionary.params
  assert_close(ours, own, rtol=1e-3, atol=1e-5)


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
  architecture = ARCHITECTURES['batchtopk']

  def run(folder, batches):
    return dictionaries.train_sweep(
      architecture.config,
      architecture.settings(steps=10, checkpoint_every=5),
      MEMBERS[:2],
      batches,
      architecture.rows(),
      tmp_path / folder,
      progress=False,
    )

  whole = run('whole', architecture.batches())
  with pytest.raises(KeyboardInterrupt):
    run('parts', StopsAt(architecture.batches(), 7))
  parts = run('parts', architecture.batches())
  assert_same_bits(whole.state, parts.state)


def test_members_can_start_at_data(tmp_path):
  architecture = ARCHITECTURES['topk']
  init = dictionaries.Init(decoder='data')
  result = dictionaries.train_sweep(
    architecture.config,
    architecture.settings(steps=1, learning_rate=0.0, init=init),
    [{'seed': 3}, {'seed': 4}],
    architecture.batches(),
    architecture.rows(),
    tmp_path,
    progress=False,
  )
  rows = architecture.rows()
  rows = rows - initial.measure(rows).center
  rows /= np.linalg.norm(rows, axis=1, keepdims=True)
  for dictionary in result.dictionaries:
    nearest = np.max(dictionary.params['W_dec'] @ rows.T, axis=1)
    np.testing.assert_allclose(nearest, 1, rtol=1e-5)


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
