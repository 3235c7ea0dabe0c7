"""Launch scripts as jobs of real processes: equal to one, killed, told to stop."""

import json
import pathlib
import re
import shutil
import signal
import time

import numpy as np
import pytest

from interp_jax import dictionaries, store
from interp_jax.sharding import processes as lib
from interp_jax.training import read_metrics
from tests.launch.scripts import write_python
from tests.processes import ROOT, Said, finish, launch, run, start

STEPS = 600
TOPK = f'--config={ROOT}/configs/dictionaries/topk.py:quick'
HARVEST = f'--config={ROOT}/configs/harvest/resid_post.py:quick'


def spoken(said: Said) -> str:
  """What a process printed itself; gloo prints, too."""
  lines = said.out.splitlines()
  return '\n'.join(line for line in lines if not line.startswith('[Gloo]'))


def contents(folder: pathlib.Path) -> dict[str, bytes]:
  files = (file for file in folder.rglob('*') if file.is_file())
  return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def assert_same_dictionary(one: pathlib.Path, other: pathlib.Path) -> None:
  expected, found = dictionaries.load(one), dictionaries.load(other)
  assert found.config == expected.config
  for name, value in expected.params.items():
    np.testing.assert_allclose(found.params[name], value, rtol=2e-3, atol=2e-5)


@pytest.fixture(scope='module')
def corpus(tmp_path_factory):
  return write_python(tmp_path_factory.mktemp('corpus'), 60)


def harvest_flags(corpus, workdir):
  return [
    HARVEST,
    f'--config.source.path={corpus}',
    '--config.tokens.max_tokens=8192',
    '--config.harvest.shard_rows=1024',
    f'--workdir={workdir}',
  ]


def train_flags(dataset, workdir, *more):
  return [
    TOPK,
    f'--store={dataset}',
    f'--held_out={dataset}',
    f'--workdir={workdir}',
    *more,
  ]


def long_run(dataset, workdir, *more):
  settings = {'steps': STEPS, 'checkpoint_every': 50, 'eval_every': 0, 'log_every': 10}
  flags = (f'--config.trainer.{name}={value}' for name, value in settings.items())
  return train_flags(dataset, workdir, '--config.lanes=4', *flags, *more)


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
  """Rows of width 32 in many blocks."""
  rng = np.random.default_rng(0)
  rows = rng.normal(size=(2048, 32)).astype(np.float32)
  index = np.arange(len(rows), dtype=np.int32)
  folder = tmp_path_factory.mktemp('store') / 'activations'
  spec = store.ArraySpec('resid_post', 1, (32,), 'float32')
  with store.Writer(folder, store.make_schema([spec], 64, 256)) as writer:
    writer.append({'resid_post.1': rows}, np.stack([index] * 3, 1))
  return folder


@pytest.fixture(scope='module')
def never_stopped(dataset, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('whole')
  run(launch('train_dictionary', long_run(dataset, workdir), 1), 1)
  return workdir


@pytest.mark.slow
@pytest.mark.parametrize('count', [2, 4])
def test_processes_harvest_train_and_evaluate_as_one_does(corpus, tmp_path, count):
  scores = {}
  for processes in (1, count):
    folder = tmp_path / str(processes)
    flags = harvest_flags(corpus, folder)
    first, *others = run(launch('harvest', flags, processes), processes)
    assert 'rows of resid_post.1' in spoken(first)
    assert [spoken(other) for other in others] == [''] * (processes - 1)
    flags = train_flags(folder / 'activations', folder / 'run')
    first, *others = run(launch('train_dictionary', flags, processes), processes)
    assert [spoken(other) for other in others] == [''] * (processes - 1)
    scores[processes] = json.loads(spoken(first).partition(': ')[2])
  one, several = tmp_path / '1', tmp_path / str(count)
  assert contents(several / 'activations') == contents(one / 'activations')
  assert_same_dictionary(one / 'run' / 'dictionary', several / 'run' / 'dictionary')
  assert scores[count] == pytest.approx(scores[1], rel=1e-3)
  losses = [
    [r['loss'] for r in read_metrics(folder / 'run' / 'metrics.jsonl', 'train')]
    for folder in (one, several)
  ]
  np.testing.assert_allclose(*losses, rtol=1e-4)


def wait_for_checkpoint(workdir, processes):
  """Until a checkpoint is there that this run has written."""
  there = lambda: {path.name for path in (workdir / 'checkpoints').glob('[0-9]*')}
  before, deadline = there(), time.monotonic() + 120
  while not there() - before:
    assert all(process.poll() is None for process in processes)
    assert time.monotonic() < deadline
    time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize('victim', [0, 1])
def test_a_process_that_is_killed_ends_the_job_which_goes_on_when_started_again(
  dataset, never_stopped, tmp_path, victim
):
  flags = long_run(dataset, tmp_path)
  processes = start(launch('train_dictionary', flags, 2), 2)
  wait_for_checkpoint(tmp_path, processes)
  processes[victim].send_signal(signal.SIGKILL)
  statuses = [lib.STOPPED, lib.STOPPED]
  statuses[victim] = -signal.SIGKILL
  said = finish(processes, *statuses, timeout_s=60)[1 - victim]
  assert f'Process {1 - victim} of 2 stops' in said.err
  assert 'another process of the job is lost' in said.err
  assert 'Start all processes again' in said.err
  lost = 'leader' if victim == 0 else r'[Tt]asks?\W+1\b|heartbeats\):\s+1\b'
  assert re.search(lost, said.err)
  assert not (tmp_path / 'dictionary').exists()
  run(launch('train_dictionary', flags, 2), 2)
  assert_same_dictionary(never_stopped / 'dictionary', tmp_path / 'dictionary')


@pytest.mark.slow
def test_told_to_stop_all_stop_behind_a_checkpoint_and_any_number_goes_on(
  dataset, never_stopped, tmp_path
):
  flags = long_run(dataset, tmp_path)
  processes = start(launch('train_dictionary', flags, 2), 2)
  wait_for_checkpoint(tmp_path, processes)
  processes[1].send_signal(signal.SIGTERM)
  first, second = finish(processes, lib.STOPPED, lib.STOPPED)
  assert 'Run again to go on' in first.out
  assert spoken(second) == ''
  for count in (2, 4, 1):
    folder = shutil.copytree(tmp_path, tmp_path.with_name(f'{tmp_path.name}-{count}'))
    run(launch('train_dictionary', long_run(dataset, folder), count), count)
    assert_same_dictionary(never_stopped / 'dictionary', folder / 'dictionary')


@pytest.mark.slow
def test_a_run_on_4_x_2_devices_goes_on_on_2_x_2_and_on_one(
  dataset, never_stopped, tmp_path
):
  two = '--config.mesh.model=2'
  arguments = launch('train_dictionary', long_run(dataset, tmp_path, two), 2)
  processes = start(arguments, 2, devices=4)
  wait_for_checkpoint(tmp_path, processes)
  for process in processes:
    process.send_signal(signal.SIGTERM)
  finish(processes, lib.STOPPED, lib.STOPPED)
  for devices, more in ((4, [two]), (1, [])):
    folder = shutil.copytree(tmp_path, tmp_path.with_name(f'{tmp_path.name}-{devices}'))
    run(launch('train_dictionary', long_run(dataset, folder, *more), 1), 1, devices)
    assert_same_dictionary(never_stopped / 'dictionary', folder / 'dictionary')


@pytest.mark.slow
def test_members_of_a_sweep_are_those_that_one_process_trains(dataset, tmp_path):
  for count in (1, 2):
    flags = train_flags(dataset, tmp_path / str(count), '--sweep={"seed": [0, 1]}')
    run(launch('train_dictionary', [*flags, '--config.mesh.model=1'], count), count)
  for member in ('0', '1'):
    one, two = (tmp_path / name / 'dictionaries' / member for name in ('1', '2'))
    assert_same_dictionary(one, two)


@pytest.mark.slow
def test_an_error_of_one_process_ends_all(dataset, tmp_path):
  both = launch('train_dictionary', train_flags(dataset, tmp_path), 2)
  wrong = [f'--store={tmp_path}/nothing']
  processes = start(lambda i, address: [*both(i, address), *(wrong * i)], 2)
  first, second = finish(processes, lib.STOPPED, lib.FAILED, timeout_s=100)
  assert 'NotAStoreError' in second.err
  assert 'Process 1 of 2 failed, so the job ends' in second.err
  assert 'another process of the job is lost' in first.err


@pytest.mark.slow
def test_a_language_model_of_two_processes_is_that_of_one(corpus, tmp_path):
  losses = []
  for count in (1, 2):
    folder = tmp_path / str(count)
    flags = [
      f'--config={ROOT}/configs/stdlib_4l.py:quick',
      f'--config.data.root={corpus}',
      '--config.data.held_out=0.3',
      '--config.model.vocab_size=300',
      f'--workdir={folder}',
    ]
    run(launch('train_lm', flags, count), count)
    card = json.loads((folder / 'export' / 'card.json').read_text())
    losses.append(
      [card['held_out_loss'], *(loss for _, loss in card['loss_curve']['train'])]
    )
  np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.slow
def test_a_lens_of_two_processes_is_that_of_one(corpus, tmp_path):
  scores = []
  for count in (1, 2):
    folder = tmp_path / str(count)
    flags = [
      f'--config={ROOT}/configs/lenses/tuned.py:quick',
      f'--config.data.root={corpus}',
      '--config.data.held_out=0.3',
      f'--workdir={folder}',
    ]
    first, *others = run(launch('train_tuned_lens', flags, count), count)
    assert 'layers run' in first.out
    assert [spoken(other) for other in others] == [''] * (count - 1)
    scores.append(json.loads((folder / 'scores.json').read_text())['tuned']['kl'])
  np.testing.assert_allclose(*scores, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_a_patching_sweep_of_two_processes_is_that_of_one(tmp_path):
  found = []
  for count in (1, 2):
    folder = tmp_path / str(count)
    config = f'--config={ROOT}/configs/sweeps/induction.py:quick'
    run(launch('patch_sweep', [config, f'--workdir={folder}'], count), count)
    found.append(json.loads((folder / 'sweeps.json').read_text())['sweeps'])
    assert (folder / 'report.html').exists()
  for name, one in found[0].items():
    np.testing.assert_allclose(found[1][name]['values'], one['values'], atol=1e-4)


@pytest.mark.slow
def test_a_dictionary_trained_through_a_model_by_two_is_that_of_one(corpus, tmp_path):
  run(launch('harvest', harvest_flags(corpus, tmp_path), 1), 1)
  for count in (1, 2):
    flags = [
      f'--config={ROOT}/configs/dictionaries/end_to_end.py:quick',
      f'--tokens={tmp_path / "tokens"}',
      '--model=stdlib-4l',
      '--config.trainer.batch_size=252',
      f'--workdir={tmp_path / str(count)}',
    ]
    run(launch('train_dictionary', flags, count), count)
  one, two = (tmp_path / name / 'dictionary' for name in ('1', '2'))
  assert_same_dictionary(one, two)


@pytest.mark.parametrize(
  ('script', 'flags', 'message'),
  [
    ('evaluate_lm', ['--distributed'], 'evaluate_lm.py runs as one process'),
    (
      'train_lm',
      [f'--config={ROOT}/configs/stdlib_4l.py', '--workdir=none', '--processes=2'],
      'there is no coordinator and no process',
    ),
  ],
)
def test_flags_that_do_not_fit_end_it_before_any_work(script, flags, message):
  (said,) = finish(start(launch(script, flags, 1), 1), lib.FAILED)
  assert message in re.sub(r'\s+', ' ', said.out + said.err)
