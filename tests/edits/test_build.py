"""Masks and grids choose along axes by name."""

import numpy as np
import pytest

from interp_jax import edits

SHAPE = (3, 2, 5, 4, 6)  # z: [L, B, T, H, K]


def test_no_choice_is_everything():
  assert np.all(np.broadcast_to(edits.select('z', SHAPE), SHAPE))


CHOICES = [
  {'layer': 1},
  {'layer': -1},
  {'layer': [0, 2], 'head': slice(1, 3)},
  {'batch': 1, 'position': range(2, 5), 'unit': 0},
  {'position': slice(None, None, 2)},
  {'head': np.array([3, 0])},
  {'head': []},
]
AXES = ['layer', 'batch', 'position', 'head', 'unit']


@pytest.mark.parametrize('choice', CHOICES, ids=str)
def test_a_selection_is_what_indexing_selects(choice):
  want = np.ones(SHAPE, bool)
  for name, index in choice.items():
    index = list(index) if isinstance(index, range) else index
    along = np.zeros(SHAPE[AXES.index(name)], bool)
    along[index] = True
    want &= along.reshape([-1 if axis == name else 1 for axis in AXES])
  got = edits.select('z', SHAPE, **choice)
  sizes = [SHAPE[AXES.index(axis)] if axis in choice else 1 for axis in AXES]
  assert got.shape == tuple(sizes)
  np.testing.assert_array_equal(np.broadcast_to(got, SHAPE), want)


def test_queries_and_keys_are_told_apart():
  got = edits.select('pattern', (3, 2, 4, 5, 5), position=1, key_position=[0, 1])
  assert got.shape == (1, 1, 1, 5, 5)
  assert np.argwhere(got[0, 0, 0]).tolist() == [[1, 0], [1, 1]]


def test_a_site_outside_the_layers_has_no_layer():
  assert edits.select('embed', (2, 5, 6), position=1).shape == (1, 5, 1)
  with pytest.raises(
    ValueError, match=r"axis of site 'embed' 'layer'.*batch, position"
  ):
    edits.select('embed', (2, 5, 6), layer=0)


@pytest.mark.parametrize('index', [4, -5, [0, 9]])
def test_an_index_out_of_range_is_refused(index):
  with pytest.raises(ValueError, match='out of range: the axis has size 4'):
    edits.select('z', SHAPE, head=index)


def test_a_boolean_choice_is_refused_rather_than_read_as_indices():
  with pytest.raises(ValueError, match='flatnonzero'):
    edits.select('z', SHAPE, layer=[True, False, True])


def test_an_axis_that_the_site_lacks_is_refused():
  with pytest.raises(ValueError, match="Unknown axis of site 'resid_pre' 'head'"):
    edits.select('resid_pre', (3, 2, 5, 6), head=0)
  with pytest.raises(ValueError, match="Did you mean 'head'"):
    edits.grid('z', SHAPE, ('heads',))


@pytest.mark.parametrize(
  'over', [('layer', 'head'), ('head', 'layer'), ('position',), ()]
)
def test_a_grid_has_a_world_for_each_point(over):
  masks, coordinates = edits.grid('z', SHAPE, over)
  worlds = int(np.prod([SHAPE[AXES.index(name)] for name in over], initial=1))
  assert masks.shape[0] == len(coordinates) == worlds
  assert coordinates.shape == (worlds, len(over))
  for mask, point in zip(masks, coordinates, strict=True):
    choice = dict(zip(over, point.tolist(), strict=True))
    np.testing.assert_array_equal(mask, edits.select('z', SHAPE, **choice))
  # The last axis varies fastest, and every element is in exactly one world.
  assert coordinates.tolist() == sorted(coordinates.tolist())
  whole = np.broadcast_to(masks, (worlds, *SHAPE))
  np.testing.assert_array_equal(whole.sum(0), 1)
