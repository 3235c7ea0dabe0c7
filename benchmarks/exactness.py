"""How exactly are published models read? The README's table.

    python -m benchmarks.exactness [--families=gpt2,llama]

For every family, tiny random models with every option (`tests/models/published.py`) are
written in the published layout and checked as `launch/load_check.py` does. A row holds
the worst of the family's models. Writes `benchmarks/results/exactness.{json,md}`,
prints the table, and exits with 1 if a number is above its bound. Needs the extra
`peers`; twenty minutes on one core.
"""

from collections.abc import Sequence
import dataclasses
import importlib.metadata
import json
import pathlib
import sys
import tempfile

from absl import app, flags, logging

from interp_jax.testing import load_check
from interp_jax.testing.peer import hush
from tests.models import make_golden, published

FAMILIES = flags.DEFINE_list('families', [], 'Only these; none for all.')
RESULTS = pathlib.Path(__file__).parent / 'results'
LIBRARIES = ('jax', 'numpy', 'torch', 'transformers', 'transformer-lens')


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
  names = FAMILIES.value or list(families)
  checks = {name: check_family(families[name]) for name in names}
  rows = [load_check.worst(list(cases.values())) for cases in checks.values()]
  table = load_check.table(rows)
  print(table)
  if not FAMILIES.value:
    write(checks, table)
  above = [name for cases in checks.values() for name, c in cases.items() if c.above()]
  if above:
    raise SystemExit(f'Above the bounds: {", ".join(above)}.')


def write(checks: dict[str, dict[str, load_check.Check]], table: str) -> None:
  """Writes what was measured, model by model, and the table."""
  text = {
    'versions': {name: importlib.metadata.version(name) for name in LIBRARIES},
    'bounds': {
      'float32': load_check.FLOAT32_BOUND,
      'float64': load_check.FLOAT64_BOUND,
    },
    'models': {
      name: dataclasses.asdict(check)
      for cases in checks.values()
      for name, check in cases.items()
    },
  }
  RESULTS.mkdir(exist_ok=True)
  (RESULTS / 'exactness.json').write_text(json.dumps(text, indent=2) + '\n')
  (RESULTS / 'exactness.md').write_text(table + '\n')


if __name__ == '__main__':
  app.run(main)
