"""How exactly are published models read? The README's table.

    python -m benchmarks.exactness [--families=gpt2,llama]

For every family, tiny random models with every option (`tests/models/published.py`) are
written in the published layout and checked as `launch/load_check.py` does. A row holds
the worst of the family's models. Writes `benchmarks/results/exactness.{json,md}`,
prints the table, and exits with 1 if a number is above its bound. With `--families`,
the other families' rows stay what an earlier run measured. Needs the extra `peers`;
twenty minutes on one core.
"""

from collections.abc import Iterable, Sequence
import dataclasses
import importlib.metadata
import json
import pathlib
import sys
import tempfile
from typing import Any

from absl import app, flags, logging

from interp_jax.testing import load_check
from interp_jax.testing.peer import hush
from tests.models import make_golden, published

FAMILIES = flags.DEFINE_list('families', [], 'Only these; none for all.')
JSON = pathlib.Path(__file__).parent / 'results' / 'exactness.json'
LIBRARIES = ('jax', 'numpy', 'torch', 'transformers', 'transformer-lens')
# Family → model → what was measured.
Checks = dict[str, dict[str, load_check.Check]]


def check_case(case: published.Case) -> load_check.Check:
  """Makes and checks one model."""
  with tempfile.TemporaryDirectory() as name:
    folder = make_golden.make_checkpoint(case, pathlib.Path(name))
    return load_check.check_folder(folder, published.tokens_of(case.name))


def check_family(cases: Sequence[published.Case]) -> dict[str, load_check.Check]:
  """Every case of a family, by name; tells each, and its columns above a bound."""
  checks = {}
  for case in cases:
    checks[case.name] = check_case(case)
    above = checks[case.name].above()
    print(case.name, *above, file=sys.stderr, flush=True)
  return checks


def main(argv: Sequence[str]) -> None:
  """Measures, writes and prints."""
  if len(argv) > 1:
    raise app.UsageError(f'{argv[1]!r} is not a flag.')
  if not flags.FLAGS['verbosity'].present:
    logging.set_verbosity(logging.WARNING)  # Libraries tell much at INFO.
  hush()
  families = {**published.FAMILIES, 'transformer_lens': published.LENS}
  known = read_results(families)
  for name in FAMILIES.value or families:
    known[name] = check_family(families[name])
    write_results({name: known[name] for name in families if name in known})
  print(make_table(known))
  checks = [check for cases in known.values() for check in cases.items()]
  above = [name for name, check in checks if check.above()]
  if above:
    raise SystemExit(f'Above the bounds: {", ".join(above)}.')


def make_table(checks: Checks) -> str:
  """A row for each family, the worst of its models."""
  rows = [load_check.worst(list(cases.values())) for cases in checks.values()]
  return load_check.table(rows)


def read_results(families: Iterable[str]) -> Checks:
  """What an earlier run with the same versions measured, in the families' order."""
  if not JSON.is_file():
    return {}
  kept = json.loads(JSON.read_text())
  if kept['versions'] != versions():
    return {}
  models = kept['models']
  return {
    family: {name: parse_check(fields) for name, fields in models[family].items()}
    for family in families
    if family in models
  }


def parse_check(fields: dict[str, Any]) -> load_check.Check:
  """A check from its JSON."""
  read: dict[str, Any] = {**fields, 'notes': tuple(fields['notes'])}
  return load_check.Check(**read)


def write_results(checks: Checks) -> None:
  """Writes what was measured, model by model, and the table."""
  models = {
    family: {name: dataclasses.asdict(check) for name, check in cases.items()}
    for family, cases in checks.items()
  }
  bounds = {'float32': load_check.FLOAT32_BOUND, 'float64': load_check.FLOAT64_BOUND}
  kept = {'versions': versions(), 'bounds': bounds, 'models': models}
  JSON.parent.mkdir(exist_ok=True)
  JSON.write_text(json.dumps(kept, indent=2) + '\n')
  JSON.with_suffix('.md').write_text(make_table(checks) + '\n')


def versions() -> dict[str, str]:
  """Of the libraries that the numbers depend on."""
  return {name: importlib.metadata.version(name) for name in LIBRARIES}


if __name__ == '__main__':
  app.run(main)
