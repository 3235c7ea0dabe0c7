import jax
from jax.sharding import AxisType
import pytest

from interp_jax.sharding import make_mesh


def sizes(mesh):
  return dict(mesh.shape)


def test_all_devices_are_used_unless_told_otherwise():
  assert sizes(make_mesh()) == {'data': 8, 'model': 1}
  assert sizes(make_mesh(model=2)) == {'data': 4, 'model': 2}
  assert sizes(make_mesh(data=2, model=4)) == {'data': 2, 'model': 4}


def test_a_mesh_of_one_device_is_a_mesh():
  mesh = make_mesh(devices=jax.devices()[:1])
  assert sizes(mesh) == {'data': 1, 'model': 1}


def test_given_devices_are_the_ones_used():
  devices = jax.devices()[2:6]
  mesh = make_mesh(model=2, devices=devices)
  assert set(mesh.devices.flat) == set(devices)


def test_xla_chooses_the_collectives_on_every_axis():
  assert set(make_mesh(model=2).axis_types) == {AxisType.Auto}


def test_no_device_is_left_over_silently():
  with pytest.raises(ValueError, match=r'data=2 × model=2 needs 4 devices.* are 8'):
    make_mesh(data=2, model=2)


def test_the_error_says_which_divisibility_fails_and_what_fits():
  with pytest.raises(ValueError, match=r'8 % 3 = 2.*\[1, 2, 4, 8\]'):
    make_mesh(model=3)


@pytest.mark.parametrize('size', [{'data': 0}, {'model': 0}, {'model': -1}])
def test_a_size_below_one_is_an_error(size):
  with pytest.raises(ValueError, match='at least 1'):
    make_mesh(**size)
