"""The commands of the README start as it says: from the tree, nothing set by hand."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def run(script, config, *flags):
  return subprocess.run(
    [sys.executable, f'launch/{script}.py', f'--config=configs/{config}.py', *flags],
    cwd=ROOT,
    env={name: value for name, value in os.environ.items() if name != 'PYTHONPATH'},
    capture_output=True,
    text=True,
    check=False,
  )


@pytest.mark.parametrize(
  ('script', 'config'),
  [('harvest', 'harvest/layers'), ('train_dictionary', 'dictionaries/topk')],
)
def test_configurations_find_what_they_import(script, config, tmp_path):
  done = run(script, config, f'--workdir={tmp_path}', '--only_check_args')
  assert done.returncode == 0, done.stderr


def test_a_flag_that_a_configuration_has_no_use_for_is_refused(tmp_path):
  where = (f'--workdir={tmp_path}', '--tokens=none', '--model=none')
  done = run('train_dictionary', 'dictionaries/end_to_end', *where, '--sweep={}')
  assert done.returncode != 0
  assert 'there is no --sweep' in done.stdout + done.stderr
