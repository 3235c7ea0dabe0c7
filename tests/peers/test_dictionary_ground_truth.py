"""The comparison on known features runs, and reads scores off at equal L0."""

import json
import math
import os
import pathlib
import subprocess
import sys
from unittest import mock

import pytest

# Importing a script must not define its flags here.
with (
  mock.patch('absl.flags.DEFINE_string'),
  mock.patch('absl.flags.DEFINE_integer'),
  mock.patch('absl.flags.DEFINE_enum'),
  mock.patch('absl.flags.DEFINE_list'),
):
  from benchmarks.dictionary_ground_truth import ARCHITECTURES, SIDES, at_wanted_l0

pytestmark = pytest.mark.peers
ROOT = pathlib.Path(__file__).parents[2]


def run(*flags):
  command = [sys.executable, 'benchmarks/dictionary_ground_truth.py', *flags]
  env = os.environ | {'PYTHONPATH': str(ROOT)}
  done = subprocess.run(
    command, cwd=ROOT, env=env, capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr[-2000:]
  return done.stdout


def test_scores_are_interpolated_to_the_wanted_l0_over_its_logarithm():
  sparse = {'l0': 2.0, 'mcc': 0.2, 'seconds': 1.0}
  dense = {'l0': 8.0, 'mcc': 0.6, 'seconds': 3.0}
  found = at_wanted_l0([dense, sparse], 4.0)
  assert found['l0'] == pytest.approx(4.0)
  assert found['mcc'] == pytest.approx(0.4)
  assert found['seconds'] == 2.0


def test_outside_of_the_coefficients_the_nearest_one_stands_with_its_own_l0():
  scores = [{'l0': l0, 'mcc': l0 / 10, 'seconds': 1.0} for l0 in (2.0, 3.0)]
  assert at_wanted_l0(scores, 9.0)['l0'] == pytest.approx(3.0)
  assert at_wanted_l0(scores, 9.0)['mcc'] == pytest.approx(0.3)
  assert at_wanted_l0(scores[:1], 9.0)['l0'] == pytest.approx(2.0)


@pytest.mark.slow
def test_the_script_measures_all_architectures_on_both_sides(tmp_path):
  pytest.importorskip('sae_lens')
  file = tmp_path / 'found.json'
  flags = ('--size=tiny', '--seeds=2', f'--json={file}')
  # What an earlier run with the same setting found stays.
  run(*flags, '--architectures=topk')
  rest = [name for name in ARCHITECTURES if name != 'topk']
  printed = run(*flags, f'--architectures={",".join(rest)}')
  found = json.loads(file.read_text())
  assert list(found['measured']) == list(ARCHITECTURES)
  for name, both in found['measured'].items():
    assert math.isfinite(found[f'mcc_margin_{name}'])
    assert found[f'f1_margin_worst_{name}'] <= found[f'f1_margin_{name}']
    for side in SIDES:
      assert len(both[side]['seeds']) == 2
      for seed in both[side]['seeds']:
        assert seed['l0'] > 0
        assert 0 < seed['mcc'] < 1
      assert f'{name} | {side}' in printed
  assert file.with_suffix('.md').read_text().count('\n') == 2 + 2 * len(ARCHITECTURES)
