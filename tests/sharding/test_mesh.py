import jax
from jax.experimental import topologies
from jax.sharding import AxisType
import pytest

from interp_jax.sharding import data_share, make_mesh, slice_of
from tests.sharding.devices import hosts


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


@pytest.mark.parametrize(
  'size', [{'data': 0}, {'model': 0}, {'model': -1}, {'slices': 0}]
)
def test_a_size_below_one_is_an_error(size):
  with pytest.raises(ValueError, match='at least 1'):
    make_mesh(**size)


@pytest.mark.parametrize('sliced', [True, False])
def test_a_copy_of_the_model_stays_in_its_slice_and_data_goes_slice_by_slice(sliced):
  mesh = make_mesh(model=2, devices=hosts(2, 4, sliced))
  assert sizes(mesh) == {'data': 4, 'model': 2}
  found = [[slice_of(device) for device in row] for row in mesh.devices]
  assert found == [[0, 0], [0, 0], [1, 1], [1, 1]]


def test_a_model_larger_than_a_slice_is_an_error_that_says_what_fits():
  with pytest.raises(ValueError, match=r'4 % 8 = 4.*\[1, 2, 4\].*slices=1'):
    make_mesh(model=8, devices=hosts(2, 4))


def test_slices_may_be_taken_no_notice_of():
  mesh = make_mesh(model=8, devices=hosts(2, 4), slices=1)
  assert sizes(mesh) == {'data': 1, 'model': 8}
  assert [device.slice_index for device in mesh.devices[0]] == [0] * 4 + [1] * 4


def test_slices_of_different_sizes_are_an_error_that_lists_them():
  devices = [device for device in hosts(2, 4) if device.id != 6]
  with pytest.raises(ValueError, match=r'\{0: 4, 1: 3\}'):
    make_mesh(devices=devices)


def test_devices_that_know_of_no_slices_can_be_divided_into_some():
  mesh = make_mesh(model=2, slices=4)
  assert sizes(mesh) == {'data': 4, 'model': 2}
  with pytest.raises(ValueError, match='4 devices each'):
    make_mesh(model=8, devices=jax.devices(), slices=2)
  with pytest.raises(ValueError, match=r'8 % 3 = 2.*\[1, 2, 4, 8\]'):
    make_mesh(slices=3)


@pytest.fixture(scope='module')
def topology():
  """Descriptions of the devices of a TPU topology, which need its compiler."""
  pytest.importorskip('libtpu')

  def describe(name, slices=1):
    return topologies.get_topology_desc(name, 'tpu', num_slices=slices).devices

  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('TPU_SKIP_MDS_QUERY', '1')  # Or it looks for a TPU's metadata.
    yield describe


def test_real_topologies_of_one_slice_and_of_two(topology):
  two = make_mesh(model=8, devices=topology('v5e:4x4', 2))
  assert sizes(two) == {'data': 4, 'model': 8}
  found = [{slice_of(device) for device in row} for row in two.devices]
  assert found == [{0}, {0}, {1}, {1}]
  one = make_mesh(model=8, devices=topology('v5e:4x4'))
  assert {slice_of(device) for device in one.devices.flat} == {0}


def test_an_axis_of_the_torus_may_be_split(topology):
  mesh = make_mesh(model=8, devices=topology('v6e:16x16'))
  assert sizes(mesh) == {'data': 32, 'model': 8}
  for row in mesh.devices:  # Neighbours: within a rectangle of eight chips.
    x, y, _ = zip(*(device.coords for device in row), strict=True)
    assert len(set(x)) * len(set(y)) == 8


def test_hosts_that_share_a_copy_of_the_model_share_its_rows(topology):
  mesh = make_mesh(model=4, devices=topology('v5e:4x4'))
  shares = [data_share(mesh, process) for process in range(4)]
  assert shares == [(0, 2), (0, 2), (1, 2), (1, 2)]
