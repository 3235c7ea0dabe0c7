"""The command: the quick variants of its configurations, and going on."""

import json
import pathlib
from unittest import mock

import numpy as np
import pytest

from interp_jax import circuits
from tests.launch.scripts import config_of, load_script

ROOT = pathlib.Path(__file__).resolve().parents[2]


script = load_script('discover_circuit')


@pytest.fixture(scope='module')
def compiled_run(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('compiled')
  return workdir, script.run(config_of('circuits/compiled').to_dict(), workdir)


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
    assert script.run(config_of('circuits/compiled').to_dict(), workdir) == summary
  assert acdc.call_count == 1


def test_a_folder_of_another_configuration_is_refused(compiled_run):
  workdir, _ = compiled_run
  other = config_of('circuits/compiled').to_dict() | {'ablation': 'zero'}
  with pytest.raises(ValueError, match='another configuration'):
    script.run(other, workdir)


@pytest.mark.slow
def test_the_induction_configuration_runs(tmp_path):
  summary = script.run(config_of('circuits/induction').to_dict(), tmp_path)
  assert 0 < summary['circuit_edges'] < summary['edges']
  assert summary['clean'] > 1
  assert summary['ablated'] < 0
