"""A sweep that was killed goes on; a folder takes no other sweep."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from interp_jax import circuits
from interp_jax.circuits.journal import Journal, fingerprint
from interp_jax.sharding import simulated_env

ROOT = pathlib.Path(__file__).parents[2]
SWEEP = """
import sys, time
import numpy as np
from interp_jax import circuits
from interp_jax.testing import tiny_model

model, params = tiny_model()
base = np.random.default_rng(0).integers(0, 31, (2, 6))
source = (base + 1) % 31

def wait():
  print('chunk', flush=True)
  time.sleep(float(sys.argv[2]))
  return False

result = circuits.sweep(
  model, params, base, source, 'z', ('layer', 'position', 'head'),
  metric=circuits.logit_difference([0, 1], [2, 3]), chunk=6, programs=2,
  workdir=sys.argv[1], should_stop=wait, progress=False,
)
np.save(sys.argv[3], result.values)
"""


def sweep(setting, workdir, **options):
  options = {'metric': setting.metric, 'progress': False, 'chunk': 4} | options
  given = setting.model, setting.params, setting.base, setting.source, 'resid_pre'
  return circuits.sweep(*given, workdir=workdir, **options)


def test_a_stopped_sweep_goes_on_and_ends_as_if_it_never_was(setting, tmp_path):
  asked = iter([False, True])
  # At layer 0 the runs differ at one position, at the others at four.
  with pytest.raises(circuits.Stopped, match='6 of 9 worlds'):
    sweep(setting, tmp_path, should_stop=lambda: next(asked))
  counted = []
  again = sweep(setting, tmp_path, should_stop=lambda: counted.append(1) or False)
  assert len(counted) == 1  # Only what was left was run.
  np.testing.assert_allclose(again.values, sweep(setting, None).values, atol=1e-6)
  # All is there: nothing is run, and the values are those on the disk.
  finished = sweep(setting, tmp_path, should_stop=lambda: counted.append(1) or False)
  assert len(counted) == 1
  np.testing.assert_array_equal(finished.values, again.values)


def test_processes_share_a_sweep_through_its_folder(setting, tmp_path):
  waits = iter([False] * 5)  # After each chunk and each look.
  # The second of two does its worlds, and waits for those of the first.
  with pytest.raises(circuits.Stopped, match=r'waiting for other processes at \d of 9'):
    sweep(
      setting, tmp_path, share=(1, 2), chunk=9, should_stop=lambda: next(waits, True)
    )
  asked = []
  first = sweep(
    setting, tmp_path, share=(0, 2), should_stop=lambda: asked.append(1) or False
  )
  assert asked
  second = sweep(setting, tmp_path, share=(1, 2), should_stop=lambda: True)
  np.testing.assert_array_equal(first.values, second.values)
  np.testing.assert_allclose(first.values, sweep(setting, None).values, atol=1e-6)
  with pytest.raises(ValueError, match='share a sweep through a workdir'):
    sweep(setting, None, share=(0, 2))


@pytest.mark.parametrize('change', ['metric', 'tokens', 'parameters', 'grid'])
def test_another_sweep_does_not_go_on_from_there(setting, tmp_path, change):
  sweep(setting, tmp_path)
  options = {}
  if change == 'metric':
    options['metric'] = circuits.logit_difference([3, 3], [4, 4])
  if change == 'tokens':
    setting = setting._replace(base=(setting.base + 1) % 40)
  if change == 'parameters':
    embed = {'W_E': setting.params['embed']['W_E'] * 1.5}
    setting = setting._replace(params={**setting.params, 'embed': embed})
  if change == 'grid':
    options['at'] = {'position': [2, 3]}
  with pytest.raises(ValueError, match='holds another sweep'):
    sweep(setting, tmp_path, **options)


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_loses_no_finished_chunk(tmp_path, number):
  env = os.environ | simulated_env(1)
  run = lambda wait: [
    sys.executable, '-c', SWEEP, str(tmp_path / 'w'), str(wait),
    str(tmp_path / 'out.npy'),
  ]  # fmt: skip
  with subprocess.Popen(run(60), cwd=ROOT, env=env, stdout=subprocess.PIPE) as killed:
    assert killed.stdout.readline() == b'chunk\n'
    killed.send_signal(number)
    assert killed.wait(60) != 0
  assert not (tmp_path / 'out.npy').exists()
  files = {path: path.read_bytes() for path in tmp_path.rglob('worlds-*.npz')}
  assert len(files) == 1
  done = subprocess.run(
    run(0), cwd=ROOT, env=env, capture_output=True, check=True, timeout=300
  )
  resumed = np.load(tmp_path / 'out.npy')
  assert {path: path.read_bytes() for path in files} == files
  fresh = [*run(0)[:-2], '0', str(tmp_path / 'fresh.npy')]
  fresh[3] = str(tmp_path / 'other')
  whole = subprocess.run(
    fresh, cwd=ROOT, env=env, capture_output=True, check=True, timeout=300
  )
  assert done.stdout.count(b'chunk') == whole.stdout.count(b'chunk') - 1
  np.testing.assert_allclose(resumed, np.load(tmp_path / 'fresh.npy'), atol=1e-6)


def test_a_journal_gives_back_what_it_was_given(tmp_path):
  journal = Journal(tmp_path, {'a': 1})
  assert journal.read() == {}
  journal.write({3: np.array([1.0, 2.0]), 0: np.array([3.0, 4.0])})
  journal.write({1: np.array([5.0, 6.0])})
  read = Journal(tmp_path, {'a': 1}).read()
  assert {k: v.tolist() for k, v in read.items()} == {
    3: [1, 2], 0: [3, 4], 1: [5, 6]
  }  # fmt: skip
  assert json.loads((tmp_path / 'sweep.json').read_text()) == {'a': 1}


def test_half_a_file_is_not_read(tmp_path):
  journal = Journal(tmp_path, {})
  (tmp_path / 'worlds-00000000-2.part').write_bytes(b'half')
  assert journal.read() == {}


def test_fingerprints_see_every_bit_shape_and_place():
  one = {'a': np.zeros(3), 'b': np.ones(2, np.float32)}
  others = [
    {'a': np.array([0, 0, -0.0]), 'b': one['b']},
    {'a': np.zeros((3, 1)), 'b': one['b']},
    {'a': np.zeros(3, np.float32), 'b': one['b']},
    {'a': one['a'], 'c': one['b']},
  ]
  assert fingerprint(one) == fingerprint(dict(one))
  assert len({fingerprint(tree) for tree in (one, *others)}) == 5
