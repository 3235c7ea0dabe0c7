"""The command, for a TPU topology; needs the extra `tpu-compile`."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SMALL = (
  '--config.dictionary.width=256',
  '--config.dictionary.features=4096',
  '--config.per_device=128',
  '--config.mesh.model=4',
)


@pytest.mark.slow
def test_a_sweep_over_topologies_is_shown_and_written(tmp_path):
  pytest.importorskip('libtpu')
  path = tmp_path / 'found.json'
  done = subprocess.run(
    [
      sys.executable,
      'launch/compile_tpu.py',
      '--config=configs/compile/topk.py',
      *SMALL,
      '--sweep=v5e:4x4,v5e:4x8',
      f'--json={path}',
    ],
    cwd=ROOT,
    env={name: value for name, value in os.environ.items() if name != 'PYTHONPATH'},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  records = json.loads(path.read_text())['records']
  assert [record['topology'] for record in records] == ['v5e:4x4', 'v5e:4x8']
  assert [record['units'] for record in records] == [16 * 128, 32 * 128]
  for record in records:
    assert record['fits']
    assert record['unplanned'] == []
  assert 'NOT OF THE DESIGN' not in done.stdout
  assert 'growth' in done.stdout
