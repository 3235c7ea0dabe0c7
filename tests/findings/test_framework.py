"""Findings as data: verdicts, resuming, files, tables. The finding here is a toy."""

import dataclasses
import json
import math
import os
import signal

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np
import optax
import pytest

from interp_jax import findings
from interp_jax.findings import Outcome, Part, Picture, Quantity

STEPS = 60


@dataclasses.dataclass(frozen=True)
class Settings:
  steps: int
  shift: float = 0.0


def settings(quick, shift=0.0):
  return Settings(20 if quick else STEPS, shift)


def loss_fn(params, key):
  x = jax.random.normal(key, (8, 2))
  return ((x @ params['w'] - x.sum(1)) ** 2).mean(), {}


def first_weights(params):
  return {'first': params['w'][:, 0]}


def train(run, config, measure=first_weights):
  return run.train(
    'model',
    loss_fn,
    {'w': jnp.zeros((3, 2))},
    optax.sgd(0.2),
    config.steps,
    run.seeds('data', 1)[0],
    settings=dataclasses.asdict(config),
    steps_per_call=5,
    snapshot_every=10,
    measure=measure,
    measure_every=20,
    log_every=10,
    checkpoint_every=10,
  )


def reproduce(run, config):
  trained = train(run, config)
  found = run.arrays('found', {}, lambda: {'w': trained.params['w']})
  figure = Figure()
  figure.add_subplot().plot(found['w'][0])
  error = np.abs(found['w'] - 1 - config.shift).max(1)
  return Outcome(
    quantities=(
      Quantity('error', 'largest error', tuple(error), at_most=0.05, headline=True),
      Quantity('size', 'norm of the first', (np.linalg.norm(found['w'][0]),)),
    ),
    parts=(
      Part(
        'Weights',
        ('They are all 1.',),
        (Picture('weights', figure, 'A line', 'Weights by index.'),),
        ('error',),
      ),
    ),
    seeds={'data': run.seeds('data', 1)},
  )


TOY = findings.Finding(
  'toy', 'A toy', 'Weights are 1.', 'Nobody (2026)', settings, reproduce, ('shift',)
)


def toy(folder, **arguments):
  return findings.reproduce(TOY, folder, progress=False, **arguments)


@pytest.fixture(scope='module')
def done(tmp_path_factory):
  folder = tmp_path_factory.mktemp('toy')
  return folder, toy(folder, seed=7)


def test_the_verdict_follows_from_the_numbers(done, tmp_path):
  assert done[1]['holds']
  broken = toy(tmp_path, seed=7, options={'shift': 0.5})
  assert not broken['holds']
  page = (tmp_path / 'report.html').read_text(encoding='utf-8')
  assert 'does not hold' in page
  assert 'this holds' in (done[0] / 'report.html').read_text(encoding='utf-8')


def test_the_folder_has_the_result_the_page_and_the_pictures(done):
  folder, result = done
  assert json.loads((folder / 'result.json').read_text()) == result
  assert {path.name for path in (folder / 'figures').iterdir()} == {
    'weights.png',
    'weights.svg',
  }
  (error, _) = result['quantities']
  assert (error['at_most'], len(error['values'])) == (0.05, 3)
  assert error['worst'] == max(error['values'])
  assert result['seed'] == 7
  assert result['seeds']['data']
  assert result['seconds']['total'] >= result['seconds']['model'] > 0
  assert {'jax', 'python', 'devices'} <= set(result['environment'])


def test_what_is_finished_is_not_repeated(done):
  folder, result = done
  before = (folder / 'result.json').stat().st_mtime_ns
  assert toy(folder) == result  # The seed is remembered.
  assert (folder / 'result.json').stat().st_mtime_ns == before


def test_other_settings_are_refused(done):
  with pytest.raises(ValueError, match=r'another reproduction.*seed'):
    toy(done[0], seed=8)
  with pytest.raises(ValueError, match='another reproduction'):
    toy(done[0], quick=True)


def test_without_a_seed_every_folder_has_a_fresh_one(tmp_path):
  seeds = {toy(tmp_path / str(i), quick=True)['seed'] for i in range(3)}
  assert len(seeds) == 3


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(done, tmp_path):
  def stop(params):
    os.kill(os.getpid(), signal.SIGTERM)
    return {}

  stopped = dataclasses.replace(
    TOY, reproduce=lambda run, config: train(run, config, measure=stop)
  )
  with pytest.raises(findings.Stopped, match='run again'):
    findings.reproduce(stopped, tmp_path, seed=7, progress=False)
  assert not (tmp_path / 'result.json').exists()
  result = toy(tmp_path)
  assert result['quantities'][0]['values'] == done[1]['quantities'][0]['values']
  assert result['seconds']['total'] > result['seconds']['model']


def test_training_keeps_snapshots_and_measures_along_the_way(tmp_path):
  run = findings.Run(tmp_path, 1, False, findings.run.Stages(tmp_path))
  trained = train(run, Settings(40))
  assert [step for step, _ in trained.snapshots] == [0, 10, 20, 30, 40]
  np.testing.assert_array_equal(trained.snapshots[0][1]['w'], 0)
  last = trained.snapshots[-1][1]['w']
  np.testing.assert_array_equal(last, trained.params['w'])
  assert [measure['step'] for measure in trained.measures] == [20, 40]
  np.testing.assert_allclose(trained.measures[-1]['first'], last[:, 0])
  assert [record['step'] for record in trained.records] == [10, 20, 30, 40]
  again = train(run, Settings(40))
  np.testing.assert_array_equal(again.params['w'], trained.params['w'])


def test_lengths_that_a_call_cannot_end_on_are_refused(tmp_path):
  run = findings.Run(tmp_path, 1, False, findings.run.Stages(tmp_path))
  with pytest.raises(ValueError, match='steps=42 is not a multiple'):
    train(run, Settings(42))


def test_the_worst_value_is_the_one_that_is_nearest_to_breaking_a_bound():
  assert Quantity('q', '', (0.2, 0.9), at_least=0.1).worst == 0.2
  assert Quantity('q', '', (0.2, 0.9), at_most=1.0).worst == 0.9
  assert Quantity('q', '', (0.49, 0.53), at_least=0.48, at_most=0.52).worst == 0.53
  assert not Quantity('q', '', (0.2, 0.05), at_least=0.1).holds
  assert not Quantity('q', '', (math.nan,), at_least=0.1).holds
  assert Quantity('q', '', (math.nan,)).holds  # It is only reported.


def test_an_outcome_that_says_nothing_is_refused():
  quantity = Quantity('q', '', (1.0,), at_least=0.0)
  with pytest.raises(ValueError, match='has no values'):
    Quantity('q', '', ())
  with pytest.raises(ValueError, match='different names'):
    Outcome((quantity, quantity))
  with pytest.raises(ValueError, match='nothing was claimed'):
    Outcome((Quantity('q', '', (1.0,)),))
  with pytest.raises(ValueError, match='not measured'):
    Outcome((quantity,), (Part('Part', quantities=('other',)),))


def test_tables_say_what_was_asked_and_what_is_broken(done):
  result = done[1]
  table = findings.results_table([result])
  assert '| toy | largest error |' in table
  assert '≤ 0.05 |' in table
  assert '| 3 of 3' not in findings.times_table([result])
  assert '| holds | 1 of 1 |' in findings.times_table([result])
  worse = json.loads(json.dumps(result))
  worse['quantities'][0] |= {'holds': False}
  assert '**broken**' in findings.results_table([worse])


def test_a_finding_that_is_not_there_is_named():
  with pytest.raises(ValueError, match=r"finding 'inductoin'.*induction"):
    findings.get('inductoin')
