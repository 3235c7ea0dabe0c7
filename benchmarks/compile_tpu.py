"""Compiles the programs of configs/compile/ for TPU topologies, without a TPU.

    pip install 'interp_jax[tpu-compile]'
    python benchmarks/compile_tpu.py --output=benchmarks/results/compile_tpu.json

Writes what `launch/compile_tpu.py` writes of each, as JSON and, beside it, as tables in
Markdown. What the file has already is not compiled again, unless `--only=topk,harvest`
names it. Takes half an hour on two CPU cores.
"""

import argparse
import importlib
import json
import os
import pathlib
import sys
import time
from typing import Any

# Read when jax and libtpu start: there is no TPU to look for.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

import jax  # noqa: E402

from interp_jax.programs import compile_record, report  # noqa: E402

# Configuration, its variant, the topology, and the size of the axis `model` there.
RUNS = (
  ('harvest', '', 'v5e:4x4', 2),
  ('harvest', '', 'v5e:16x16', 2),
  ('topk', '', 'v5e:16x16', 16),
  ('topk', 'million', 'v5e:16x16', 16),
  ('topk', '', 'v5e:4x4', 16),
  ('crosscoder', '', 'v5e:16x16', 16),
  ('sweep', '', 'v5e:16x16', 2),
  ('topk', '', 'v5p:8x8x8', 8),
  ('topk', 'million', 'v5p:8x8x8', 8),
  ('topk', '', 'v6e:16x16', 16),
  ('topk', 'million', 'v6e:16x16', 16),
  ('cross_layer', '', 'v5e:16x16', 16),
  ('language_model', '', 'v5e:16x16', 1),
)
# Why something else than the products binds.
NOTES = {
  'topk/million/v6e:16x16': (
    'The main memory binds: weights, gradients and what the optimiser keeps pass'
    ' through it once a step, whatever the batch is, and a v6e has 4.7 times the'
    ' products of a v5e at twice the rate of memory. More rows of each chip would'
    ' shift it: 8.7 of 32 GiB are taken.'
  ),
  'language_model/v5e:16x16': (
    'The main memory binds: the scores and patterns of attention, 100 million numbers'
    ' each in every layer, and the logits, 412 million, are arrays that pass through it'
    ' several times, forwards and backwards. They are sites, which are to be read and'
    ' edited; no kernel makes attention in one piece.'
  ),
}
# Of these, the tables of weak scaling.
SCALED = (
  ('topk', '', ('v5e:4x4', 'v5e:16x16')),
  ('harvest', '', ('v5e:4x4', 'v5e:16x16')),
)


def key(config: str, variant: str, topology: str) -> str:
  """What a run is kept under."""
  return '/'.join(part for part in (config, variant, topology) if part)


def run(config: str, variant: str, topology: str, model: int) -> dict[str, Any]:
  """The record of one run."""
  module = importlib.import_module(f'configs.compile.{config}')
  values = module.get_config(variant).to_dict()
  values['mesh']['model'] = model
  started = time.monotonic()
  record = compile_record(values, topology)
  return record | {'compile_seconds': round(time.monotonic() - started, 1)}


def markdown(records: dict[str, Any]) -> str:
  """The tables."""
  parts = [
    '# Programs compiled for TPUs, without a TPU',
    f'jax {jax.__version__}. `python benchmarks/compile_tpu.py` makes this file. Times'
    ' are rooflines by published rates, not measurements: the longest of what matrix'
    ' products, main memory and network take. MFU: the products that a step is for, in'
    ' that time.',
    report.summary(list(records.values())),
    '## Weak scaling: as much for each chip, on more chips',
  ]
  for config, variant, topologies in SCALED:
    found = [records.get(key(config, variant, one)) for one in topologies]
    parts.append(report.scaling([one for one in found if one]))
  for name, record in records.items():
    parts.append(f'## {record["name"]}, {record["topology"]}')
    parts.extend([NOTES[name]] if name in NOTES else [])
    parts.append(record.get('error') or report.communication(record))
  return '\n\n'.join(parts) + '\n'


def main() -> None:
  """Compiles what is not there yet, and writes after each."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--output', default='benchmarks/results/compile_tpu.json')
  parser.add_argument('--only', default='', help='what to compile, e.g. topk,harvest')
  given = parser.parse_args()
  path = pathlib.Path(given.output)
  records = json.loads(path.read_text()) if path.exists() else {}
  only = tuple(name for name in given.only.split(',') if name)
  for one in RUNS:
    name = key(*one[:3])
    if not name.startswith(only) if only else name in records:
      continue
    records[name] = run(*one)
    print(report.summary([records[name]]), flush=True)
    order = [key(*other[:3]) for other in RUNS]
    records = {name: records[name] for name in order if name in records}
    path.write_text(json.dumps(records, indent=2) + '\n')
  path.with_suffix('.md').write_text(markdown(records))


if __name__ == '__main__':
  main()
