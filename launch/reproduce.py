"""Reproduces findings of the field, and says whether they hold.

    python launch/reproduce.py --finding=superposition --workdir=DIR
    python launch/reproduce.py --finding=all --workdir=DIR
    python launch/reproduce.py --list

`DIR/NAME` gets `result.json` (every quantity, its bound, the verdict, the seeds),
`report.html` (a page for a newcomer) and `figures/`. Run again, it goes on where it was
stopped or killed; what is finished is not repeated. Seeds are fresh unless `--seed` is
given. `--quick` is a look at the same in a minute, its verdict without weight.

It runs as one process. The exit status is 0 also for a finding that does not hold: the
verdict is in the result.
"""

import pathlib
import subprocess

from absl import app, flags

from interp_jax import findings, report
from interp_jax.training import job

FINDING = flags.DEFINE_list('finding', None, 'Names of findings, or all.')
WORKDIR = flags.DEFINE_string('workdir', 'runs/findings', 'Folder of the runs.')
QUICK = flags.DEFINE_bool('quick', False, 'A quick look, with less training.')
SEED = flags.DEFINE_integer('seed', None, 'Of everything; by default a fresh one.')
LIST = flags.DEFINE_bool('list', False, 'Say which findings there are.')
MODEL = flags.DEFINE_string(
  'model', None, 'For ioi: folder of GPT-2 small, to find the original circuit in it.'
)
BOARD = flags.DEFINE_integer('board', None, 'For othello: 6 or 8 squares to a side.')


def chosen(asked: list[str] | None) -> list[findings.Finding]:
  """The findings of these names, in order."""
  names = findings.NAMES if asked == ['all'] else asked or ()
  try:
    return [findings.get(name) for name in names]
  except ValueError as error:
    raise app.UsageError(str(error)) from error


def options_of(chosen: list[findings.Finding]) -> dict[str, dict[str, object]]:
  """The options that were given, for each finding that takes them."""
  flags_given = {'model': MODEL.value, 'board': BOARD.value}
  given = {name: value for name, value in flags_given.items() if value is not None}
  taken = {option for finding in chosen for option in finding.options}
  for name in given:
    if name not in taken:
      raise app.UsageError(f'--{name} is an option of none of the chosen findings.')
  return {
    finding.name: {k: v for k, v in given.items() if k in finding.options}
    for finding in chosen
  }


def commit() -> str:
  """The commit of the code, `+` behind it if files were changed; '' outside of git."""
  folder = pathlib.Path(__file__).resolve().parent

  def git(*words: str) -> str:
    return subprocess.run(
      ['git', *words], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()

  try:
    return git('rev-parse', '--short', 'HEAD') + ('+' if git('diff', 'HEAD') else '')
  except (OSError, subprocess.CalledProcessError):
    return ''


def summary(result: dict) -> str:
  """A few lines: the verdict, then what is broken."""
  lines = [
    f'{result["finding"]}: {"holds" if result["holds"] else "DOES NOT HOLD"}'
    f' (seed {result["seed"]}, {report.duration(result["seconds"]["total"])})'
  ]
  for quantity in result['quantities']:
    if quantity['headline'] or not quantity['holds']:
      mark = ' ' if quantity['holds'] else '!'
      lines.append(
        f' {mark} {quantity["name"]} {quantity["mean"]} (worst {quantity["worst"]})'
      )
  return '\n'.join(lines)


def work() -> bool:
  """Reproduces what was asked for; returns whether all of it is finished."""
  todo = chosen(FINDING.value)
  options, code = options_of(todo), commit()
  for finding in todo:
    workdir = pathlib.Path(WORKDIR.value) / finding.name
    try:
      result = findings.reproduce(
        finding,
        workdir,
        quick=QUICK.value,
        seed=SEED.value,
        options=options[finding.name],
        commit=code,
      )
    except (findings.Stopped, KeyboardInterrupt):
      print(f'\nStopped. Run again with --workdir={WORKDIR.value} to go on.')
      return False
    print(summary(result))
    print(f'{workdir / "report.html"}  {workdir / "result.json"}')
  return True


def main(argv: list[str]) -> int:
  """Lists the findings, or reproduces them in one process."""
  del argv
  if LIST.value:
    for finding in map(findings.get, findings.NAMES):
      print(f'{finding.name}: {finding.claim}\n    {finding.paper}')
    return 0
  if not FINDING.value:
    raise app.UsageError(f'Give --finding=NAME, of {", ".join(findings.NAMES)}, all.')
  return job.run_alone(work)


if __name__ == '__main__':
  app.run(main)
