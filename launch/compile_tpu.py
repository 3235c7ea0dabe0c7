"""Compiles the library's programs for a TPU topology, without a TPU.

    pip install 'interp_jax[tpu-compile]'
    python launch/compile_tpu.py --config=configs/compile/topk.py --topology=v5e:16x16

What is compiled is what a trainer, a harvest or a sweep runs, from shapes alone. Shown
are the memory of each chip, the roofline of a step with what binds it, and every
collective with its mesh axis and its bytes. `--json=FILE` writes it all.

`--sweep=v5e:4x4,v5e:8x8,v5e:16x16` compiles for each, with as much for each chip: the
table of weak scaling. `--largest_batch` looks for the most of each chip that fits.

Any setting can be changed: `--config.mesh.model=8 --config.per_device=4096`.
"""

import json
import os
import pathlib
import sys
from typing import Any

# Read when jax and libtpu start: there is no TPU to look for.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')

from absl import app, flags
from ml_collections import config_flags

# Configurations import their neighbours, from `configs`.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))

from interp_jax.programs import compiling, report

CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'Configuration file, for example configs/compile/topk.py.'
)
TOPOLOGY = flags.DEFINE_string('topology', 'v5e:16x16', 'What to compile for.')
SWEEP = flags.DEFINE_list('sweep', [], 'Several topologies to compile for.')
LARGEST = flags.DEFINE_bool('largest_batch', False, 'Find the most that fits.')
JSON = flags.DEFINE_string('json', None, 'File to write everything to.')
flags.mark_flag_as_required('config')


def compile_for(values: dict[str, Any], topology: str, largest: bool) -> dict[str, Any]:
  """The record of a configuration on a topology."""
  if not largest:
    return compiling.compile_record(values, topology)
  records: dict[int, dict[str, Any]] = {}

  def fits(per_device: int) -> bool:
    records[per_device] = compiling.compile_record(values, topology, per_device)
    print(f'{topology}, {per_device} of each chip: ', end='')
    print('fits' if records[per_device]['fits'] else 'does not fit', flush=True)
    return records[per_device]['fits']

  best = compiling.largest_that_fits(fits, values['per_device'])
  return records[best] if best else records[min(records)]


def main(argv: list[str]) -> None:
  """Compiles, shows and writes."""
  del argv
  values = CONFIG.value.to_dict()
  records = []
  for topology in SWEEP.value or [TOPOLOGY.value]:
    records.append(compile_for(values, topology, LARGEST.value))
    print(f'\n{report.summary(records[-1:])}\n')
    if 'collectives' in records[-1]:
      print(report.communication(records[-1]))
      for one in records[-1]['unplanned']:
        print(f'NOT OF THE DESIGN: {one}')
  if len(records) > 1:
    print(f'\n{report.scaling(records)}')
  if JSON.value:
    text = json.dumps({'config': values, 'records': records}, indent=2)
    pathlib.Path(JSON.value).write_text(text + '\n')


if __name__ == '__main__':
  app.run(main)
