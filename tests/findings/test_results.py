"""The results that are kept: their verdicts follow from them, the README shows them."""

import pathlib

import pytest

from interp_jax import findings
from interp_jax.findings import Quantity
from tests.launch.scripts import load_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
script = load_file(ROOT / 'benchmarks' / 'findings_table.py', 'findings_table')
RESULTS = {result['finding']: result for result in script.kept()}


def quantities(result):
  fields = ('name', 'meaning', 'values', 'at_least', 'at_most')
  return [Quantity(**{key: q[key] for key in fields}) for q in result['quantities']]


def test_there_are_results_and_all_are_of_findings():
  assert RESULTS
  files = {path.stem for path in script.KEPT.glob('*.json')}
  assert files == set(RESULTS) <= set(findings.NAMES)


@pytest.mark.parametrize('name', RESULTS)
def test_the_verdict_follows_from_the_values(name):
  result = RESULTS[name]
  found = quantities(result)
  assert [q.holds for q in found] == [q['holds'] for q in result['quantities']]
  assert result['holds'] == all(q.holds for q in found)
  assert not result['quick']


@pytest.mark.parametrize('name', RESULTS)
def test_bounds_and_controls_are_those_of_a_finding(name):
  shown = RESULTS[name]['quantities']
  assert any(q['headline'] for q in shown)
  bounded = [q for q in shown if (q['at_least'], q['at_most']) != (None, None)]
  assert any(q['control'] for q in bounded)


def test_the_readme_shows_them():
  readme = (ROOT / 'README.md').read_text(encoding='utf-8')
  assert script.rewrite(readme, script.kept()) == readme


def test_a_quick_look_is_not_kept(tmp_path):
  (tmp_path / 'toy').mkdir()
  (tmp_path / 'toy' / 'result.json').write_text('{"quick": true, "finding": "toy"}')
  with pytest.raises(SystemExit, match='quick look'):
    script.keep(tmp_path)
  with pytest.raises(SystemExit, match='has no'):
    script.keep(tmp_path / 'toy')


def test_a_readme_without_marks_is_refused():
  with pytest.raises(SystemExit, match='once each'):
    script.rewrite('nothing here', [])
