"""What was compiled for TPUs, and is kept, keeps what it promises."""

import json
import pathlib

import pytest

RESULTS = pathlib.Path(__file__).parents[2] / 'benchmarks' / 'results'
RECORDS = json.loads((RESULTS / 'compile_tpu.json').read_text())

# The optimiser's traffic, and that of attention and logits; see the notes there.
MEMORY_BOUND = ('topk/million/v6e:16x16', 'language_model/v5e:16x16')


@pytest.mark.parametrize('name', RECORDS)
def test_a_program_fits_and_its_loops_are_known(name):
  assert RECORDS[name]['fits']
  assert RECORDS[name]['unknown_loops'] == 0


@pytest.mark.parametrize('name', RECORDS)
def test_products_bind_and_only_what_is_designed_is_sent(name):
  assert RECORDS[name]['unplanned'] == []
  assert (RECORDS[name]['binds'] == 'compute') == (name not in MEMORY_BOUND)


@pytest.mark.parametrize(('name', 'most'), [('topk', 0.10), ('harvest', 0.05)])
def test_sixteen_times_the_chips_take_hardly_longer(name, most):
  small, large = (RECORDS[f'{name}/v5e:{size}'] for size in ('4x4', '16x16'))
  assert large['units'] == 16 * small['units']
  assert large['step_seconds'] <= (1 + most) * small['step_seconds']
