import pytest

from configs.compile import (
  cross_layer,
  crosscoder,
  harvest,
  language_model,
  sweep,
  topk,
)
from interp_jax.programs import read_program, report
from interp_jax.programs.compiling import largest_that_fits
from interp_jax.sharding import make_mesh

CONFIGS = (topk, crosscoder, cross_layer, harvest, sweep, language_model)


@pytest.fixture(scope='module')
def mesh():
  return make_mesh(data=4, model=2)


@pytest.mark.parametrize('config', CONFIGS, ids=lambda c: c.__name__.split('.')[-1])
def test_every_configuration_is_a_program(config):
  values = config.get_config().to_dict()
  mesh = make_mesh(model=min(values['mesh']['model'], 2))
  program = read_program(values, mesh, 8)
  assert program.units % (8 * mesh.size) == 0
  assert program.flops > 1e9
  assert program.design


def test_an_unknown_variant_is_refused():
  with pytest.raises(ValueError, match='million'):
    topk.get_config('billion')


def test_an_unknown_program_is_refused(mesh):
  with pytest.raises(ValueError, match='harvest'):
    read_program({'program': 'harvst'}, mesh, 8)


@pytest.mark.parametrize('limit', [0, 1, 5, 64, 1000])
def test_the_largest_that_fits_is_found(limit):
  asked = []
  found = largest_that_fits(lambda n: asked.append(n) or n <= limit, 16)
  assert found <= limit <= max(found * 9 / 8, found + 1)
  assert len(asked) < 16


def test_a_table_says_what_does_not_fit():
  record = {
    'name': 'x',
    'topology': 'v5e:4x4',
    'mesh': {'data': 4, 'model': 4},
    'units': 64,
    'unit': 'tokens',
    'fits': False,
    'error': 'does not fit: 20 of 16 GiB',
  }
  assert 'does not fit: 20 of 16 GiB' in report.summary([record])
  assert report.scaling([record]).count('\n') == 1
