import pytest

from interp_jax.sharding.topology import CHIPS, parse_topology


@pytest.mark.parametrize('name', ['v5e', 'v5e:16', 'v5e:4by4', 'v5e:4x4x4x4'])
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
