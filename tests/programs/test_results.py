"""What was compiled for TPUs, and is kept, keeps what it promises."""

import json
import pathlib

import pytest

RESULTS = pathlib.Path(__file__).parents[2] / 'benchmarks' / 'results'
RECORDS = json.loads((RESULTS / 'compile_tpu.json').read_text())


@pytest.mark.parametrize('name', RECORDS)
def test_a_program_fits_and_sends_only_what_is_designed(name):
  record = RECORDS[name]
  assert record['fits']
  assert record['unplanned'] == []
  assert record['unknown_loops'] == 0


@pytest.mark.parametrize(('name', 'most'), [('topk', 0.10), ('harvest', 0.05)])
def test_sixteen_times_the_chips_take_hardly_longer(name, most):
  small, large = (RECORDS[f'{name}/v5e:{size}'] for size in ('4x4', '16x16'))
  assert large['units'] == 16 * small['units']
  assert large['step_seconds'] <= (1 + most) * small['step_seconds']
