import dataclasses

from jax.sharding import Mesh
import numpy as np
import pytest

from interp_jax.sharding.topology import CHIPS, Topology, parse_topology


@dataclasses.dataclass(frozen=True)
class Device:
  """What a mesh and the rates read of a device."""

  id: int
  coords: tuple[int, ...]
  slice_index: int = 0
  platform: str = 'tpu'
  process_index: int = 0
  device_kind: str = 'described'


def described(name, data, model):
  """A topology and a mesh of it, row by row."""
  chip, sizes, slices = parse_topology(name)
  places = np.stack(np.indices((slices, *sizes)), -1).reshape(-1, 1 + len(sizes))
  devices = [
    Device(i, tuple(map(int, at)), int(which)) for i, (which, *at) in enumerate(places)
  ]
  grid = np.empty(len(devices), object)
  grid[:] = devices
  mesh = Mesh(grid.reshape(data, model), ('data', 'model'))
  return Topology(name, chip, sizes, tuple(devices)), mesh


@pytest.mark.parametrize(
  'name', ['v5e', 'v5e:16', 'v5e:4by4', 'v5e:4x4x4x4', 'v5e:4x4*']
)
def test_a_name_without_sizes_is_refused(name):
  with pytest.raises(ValueError, match='no topology'):
    parse_topology(name)


def test_an_unknown_chip_is_refused_with_those_that_there_are():
  with pytest.raises(ValueError, match='v5e'):
    parse_topology('v5x:4x4')


def test_every_chip_is_a_plausible_one():
  for chip in CHIPS.values():
    assert chip.flops / chip.hbm_rate > 100  # Products per byte: they are matrix units.
    assert chip.hbm_rate > 5 * chip.link_rate > chip.dcn_rate


@pytest.mark.parametrize(
  ('name', 'data', 'model', 'axes', 'links'),
  [
    ('v5e:4x4', 4, 4, ['model'], 1),  # A line.
    ('v5e:16x16', 16, 16, ['model'], 2),  # A ring.
    ('v5e:16x16', 16, 16, ['data', 'model'], 4),  # Two rings.
    ('v5e:16x16', 64, 4, ['model'], 1),  # A part of a ring.
    ('v5e:16x16', 64, 4, ['data'], 2 + 2 / 4),  # Four that share a ring, and a ring.
    ('v5p:4x4x4', 16, 4, ['data'], 4),
  ],
)
def test_an_axis_has_the_links_that_it_lies_along(name, data, model, axes, links):
  topology, mesh = described(name, data, model)
  assert topology.rate(mesh, axes) == pytest.approx(links * topology.chip.link_rate)


def test_between_slices_each_device_sends_its_share_over_the_slow_network():
  one, mesh = described('v5e:16x16', 16, 16)
  two, wide = described('v5e:16x16*2', 32, 16)
  assert two.rate(wide, ['model']) == one.rate(mesh, ['model'])
  # 32 devices in 2 slices: a sum's 31 parts sent, of which one goes between slices.
  slow = two.chip.dcn_rate * 31
  expected = 1 / (1 / one.rate(mesh, ['data']) + 1 / slow)
  assert two.rate(wide, ['data']) == pytest.approx(expected)
