"""Puts the results of `launch/reproduce.py` into the README, as its two tables.

    python launch/reproduce.py --finding=all --workdir=runs/findings
    python benchmarks/findings_table.py runs/findings

Copies each `result.json` to `benchmarks/results/findings/NAME.json` and writes what
stands between the two marks in README.md anew, from all that lie there. Quick looks are
refused. Without a folder, the tables are made again of what lies there.
"""

import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from interp_jax import findings  # noqa: E402
from interp_jax.training.stages import write_json  # noqa: E402

KEPT = ROOT / 'benchmarks' / 'results' / 'findings'
README = ROOT / 'README.md'
BEGIN, END = '<!-- findings: begin -->', '<!-- findings: end -->'


def kept() -> list[dict]:
  """The results that are kept, in the order of the findings."""
  paths = (KEPT / f'{name}.json' for name in findings.NAMES)
  return [
    json.loads(path.read_text(encoding='utf-8')) for path in paths if path.exists()
  ]


def keep(folder: pathlib.Path) -> None:
  """Copies the results of a folder.

  Raises:
    SystemExit: if there are none, or one is of a quick look.
  """
  paths = sorted(folder.glob('*/result.json'))
  if not paths:
    raise SystemExit(f'{folder} has no NAME/result.json; run launch/reproduce.py.')
  for path in paths:
    result = json.loads(path.read_text(encoding='utf-8'))
    if result['quick']:
      raise SystemExit(f'{path} is of a quick look, which proves nothing.')
    write_json(KEPT / f'{result["finding"]}.json', result)


def tables(results: list[dict]) -> str:
  """What stands between the marks."""
  return f'{findings.times_table(results)}\n{findings.results_table(results)}'


def rewrite(readme: str, results: list[dict]) -> str:
  """The README with the tables of these results.

  Raises:
    SystemExit: if it has not both marks once.
  """
  pattern = re.compile(f'{re.escape(BEGIN)}.*?{re.escape(END)}', re.DOTALL)
  if len(pattern.findall(readme)) != 1:
    raise SystemExit(f'README.md must have {BEGIN} and {END} once each.')
  return pattern.sub(lambda _: f'{BEGIN}\n{tables(results)}{END}', readme)


def main() -> None:
  """Copies, if a folder is given, and rewrites the README."""
  for folder in sys.argv[1:]:
    keep(pathlib.Path(folder))
  text = README.read_text(encoding='utf-8')
  README.write_text(rewrite(text, kept()), encoding='utf-8')
  print(tables(kept()))


if __name__ == '__main__':
  main()
