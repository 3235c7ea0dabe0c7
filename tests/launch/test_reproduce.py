"""The script that reproduces findings."""

import dataclasses
import json
from unittest import mock

from absl import app
import pytest

from interp_jax import findings
from interp_jax.findings import Finding, Outcome, Quantity
from tests.launch.scripts import load_script

script = load_script('reproduce')


@dataclasses.dataclass(frozen=True)
class Settings:
  value: float


def reproduce(run, settings):
  error = abs(settings.value - 1)
  return Outcome((Quantity('error', 'an error', [error], at_most=0.1, headline=True),))


TOYS = {
  'one': Finding('one', 'One', 'It is 1.', 'A', lambda quick: Settings(1.0), reproduce),
  'two': Finding(
    'two',
    'Two',
    'It is 1, too.',
    'B',
    lambda quick, board=2: Settings(float(board)),
    reproduce,
    ('board',),
  ),
}


@pytest.fixture
def run(monkeypatch, tmp_path):
  monkeypatch.setattr(findings, 'NAMES', tuple(TOYS))
  monkeypatch.setattr(findings, 'get', TOYS.__getitem__)
  monkeypatch.setattr(script.job, 'run_alone', lambda work: 0 if work() else 75)

  def main(**values):
    given = {'WORKDIR': str(tmp_path), **values}
    for name, value in given.items():
      monkeypatch.setattr(script, name, mock.Mock(value=value))
    return script.main(['reproduce'])

  return main


def result(tmp_path, name):
  return json.loads((tmp_path / name / 'result.json').read_text())


def test_all_of_them_leave_results_and_the_verdict_is_said(run, tmp_path, capsys):
  assert run(FINDING=['all']) == 0
  assert result(tmp_path, 'one')['holds']
  assert not result(tmp_path, 'two')['holds']
  printed = capsys.readouterr().out
  assert 'one: holds' in printed
  assert 'two: DOES NOT HOLD' in printed
  assert '! error 1.0' in printed
  assert (tmp_path / 'two' / 'report.html').exists()


def test_an_option_goes_to_the_finding_that_takes_it(run, tmp_path):
  run(FINDING=['all'], BOARD=1)
  assert result(tmp_path, 'two')['holds']
  with pytest.raises(app.UsageError, match='--board is an option of none'):
    run(FINDING=['one'], BOARD=1)


def test_the_list_says_what_there_is(run, capsys):
  assert run(LIST=True) == 0
  assert 'two: It is 1, too.' in capsys.readouterr().out


def test_without_a_finding_it_says_what_to_give(run):
  with pytest.raises(app.UsageError, match='of one, two, all'):
    run()


def test_the_real_findings_are_all_there(monkeypatch):
  for name in findings.NAMES:
    finding = findings.get(name)
    assert finding.name == name
    quick, full = finding.settings(True), finding.settings(False)
    assert quick != full
    json.dumps(dataclasses.asdict(full))


def test_a_name_that_is_not_there_is_refused():
  with pytest.raises(app.UsageError, match=r"finding 'ioj'.*ioi"):
    script.chosen(['ioj'])
