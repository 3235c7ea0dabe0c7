"""The commands of the README start as it says: from the tree, nothing set by hand."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(
  ('script', 'config'),
  [('harvest', 'harvest/layers'), ('train_dictionary', 'dictionaries/topk')],
)
def test_configurations_find_what_they_import(script, config, tmp_path):
  done = subprocess.run(
    [
      *(sys.executable, f'launch/{script}.py', f'--config=configs/{config}.py'),
      *(f'--workdir={tmp_path}', '--only_check_args'),
    ],
    cwd=ROOT,
    env={name: value for name, value in os.environ.items() if name != 'PYTHONPATH'},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
