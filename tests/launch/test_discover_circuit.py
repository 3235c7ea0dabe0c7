"""The command: the quick variants of its configurations, and going on."""

import importlib.util
import json
import pathlib
from unittest import mock

import numpy as np
import pytest

from interp_jax import circuits

ROOT = pathlib.Path(__file__).resolve().parents[2]


def load_file(path, name):
  spec = importlib.util.spec_from_file_location(name, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def config_of(name):
  path = ROOT / 'configs' / 'circuits' / f'{name}.py'
  return load_file(path, f'circuits_{name}').get_config('quick').to_dict()


# Flags are global to a process, and the other launch scripts have the same names.
with (
  mock.patch('absl.flags.DEFINE_string'),
  mock.patch('absl.flags.mark_flag_as_required'),
  mock.patch('ml_collections.config_flags.DEFINE_config_file'),
):
  script = load_file(ROOT / 'launch' / 'discover_circuit.py', 'discover_under_test')


@pytest.fixture(scope='module')
def compiled_run(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('compiled')
  return workdir, script.run(config_of('compiled'), workdir)


def test_a_known_circuit_is_found_and_everything_is_written(compiled_run):
  workdir, summary = compiled_run
  assert summary == json.loads((workdir / 'summary.json').read_text())
  assert summary['roc_auc'] == 1
  assert summary['true_edges_in_circuit'] == summary['true_edges']
  assert summary['circuit_faithfulness'] == pytest.approx(1, abs=1e-4)
  circuit = circuits.Circuit.load(workdir / 'circuit.json')
  scores = circuits.EdgeScores.load(workdir / 'scores.json')
  assert len(circuit) == summary['circuit_edges']
  np.testing.assert_allclose(circuit.scores, scores.values)
  with np.load(workdir / 'curve.npz') as curve:
    assert curve['faithfulness'][-1] == pytest.approx(1, abs=1e-4)
  for name in ('circuit.svg', 'circuit.png', 'faithfulness.svg'):
    assert (workdir / name).stat().st_size > 1000


def test_a_run_goes_on_from_the_thresholds_that_are_done(compiled_run):
  workdir, summary = compiled_run
  done = sorted((workdir / 'acdc').iterdir())
  assert len(done) == 3
  done[0].unlink()
  with mock.patch.object(circuits, 'acdc', wraps=circuits.acdc) as acdc:
    assert script.run(config_of('compiled'), workdir) == summary
  assert acdc.call_count == 1


def test_a_folder_of_another_configuration_is_refused(compiled_run):
  workdir, _ = compiled_run
  other = config_of('compiled') | {'ablation': 'zero'}
  with pytest.raises(ValueError, match='another configuration'):
    script.run(other, workdir)


@pytest.mark.slow
def test_the_induction_configuration_runs(tmp_path):
  summary = script.run(config_of('induction'), tmp_path)
  assert 0 < summary['circuit_edges'] < summary['edges']
  assert summary['clean'] > 1
  assert summary['ablated'] < 0
