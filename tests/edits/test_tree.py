"""Edits are addressed like acts: checked, split by layer, cut and composed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import edits
from interp_jax.core import site_shape
from interp_jax.edits import Add, Clamp, ProjectOut, Replace, Scale, Splice
from interp_jax.models import TransformerConfig
from interp_jax.testing.tiny import TINY

CFG = TransformerConfig(**TINY)  # L, B, T, H, K of z: 3, 2, 5, 4, 4.
B, T = 2, 5


def prepare(todo, cfg=CFG):
  return edits.prepare(todo, cfg, B, T)


def test_one_edit_is_a_sequence_of_one():
  one, two = Add(1.0), Scale(2.0)
  todo = edits.as_tuples({'z': one, 'q': [one, two]})
  assert todo == {'z': (one,), 'q': (one, two)}
  assert edits.as_tuples(None) == {}


def test_composition_keeps_the_order_at_each_site():
  one, two, three = Add(1.0), Scale(2.0), Replace(3.0)
  todo = edits.compose({'z': (one, two)}, None, {'q': one}, {'z': three})
  assert todo == {'z': (one, two, three), 'q': (one,)}


def test_fields_with_a_layer_axis_are_scanned_and_others_shared():
  mask = np.zeros((3, 1, 1, 1, 1), bool)
  value = np.zeros((2, 5, 4, 4))
  prepared = prepare({'z': Replace(value, mask), 'embed': Add(1.0)})
  assert prepared.scanned['z'][0].value is None
  assert prepared.scanned['z'][0].mask is mask
  assert prepared.shared['z'][0].value is value
  assert prepared.shared['z'][0].mask is None
  assert list(prepared.top) == ['embed']


def test_a_layer_axis_of_one_is_shared():
  prepared = prepare({'z': Add(np.ones((1, 1, 1, 1, 4)))})
  assert prepared.scanned['z'][0].value is None
  assert prepared.shared['z'][0].value.shape == (1, 1, 1, 4)


def test_one_layers_slice_joins_to_the_edits_of_that_layer():
  values, mask = np.arange(3.0).reshape(3, 1, 1, 1, 1), np.ones((4, 1), bool)
  todo = {'z': (Add(values, mask), Splice(jnp.sin, 1, mask)), 'q': Scale(2.0)}
  prepared = prepare(todo)
  one = jax.tree.map(lambda leaf: leaf[2], prepared.scanned)
  joined = edits.join(one, prepared.shared)
  assert joined['z'][0].value == 2.0
  assert joined['z'][0].mask is mask
  assert joined['z'][1] == Splice(jnp.sin, 1, mask)
  assert joined['q'] == (Scale(2.0),)


FITTING = {
  'a number': 0.0,
  'units': np.zeros(4),
  'heads': np.zeros((4, 1)),
  'positions': np.zeros((5, 1, 1)),
  'batch': np.zeros((2, 1, 1, 1)),
  'layers': np.zeros((3, 1, 1, 1, 1)),
  'all': np.zeros((3, 2, 5, 4, 4)),
}


@pytest.mark.parametrize('name', FITTING)
def test_fields_broadcast_by_numpys_rules(name):
  value = FITTING[name]
  np.broadcast_to(value, site_shape('z', CFG, B, T))  # numpy agrees.
  prepare({'z': (Add(value), Replace(0.0, np.asarray(value) == 0), Clamp(value))})


@pytest.mark.parametrize('shape', [(5,), (2, 1), (2, 2, 5, 4, 4), (1, 3, 2, 5, 4, 4)])
def test_a_field_that_does_not_broadcast_is_refused(shape):
  with pytest.raises(ValueError):
    np.broadcast_to(np.zeros(shape), site_shape('z', CFG, B, T))
  for edit in (Add(np.zeros(shape)), Replace(0.0, np.zeros(shape, bool))):
    with pytest.raises(ValueError, match=r"at site 'z' has shape .* \[L, B, T, H, K\]"):
      prepare({'z': edit})


@pytest.mark.parametrize(
  'shape', [(2, 4), (4, 2, 4), (5, 1, 2, 4), (3, 1, 1, 1, 2, 4), (3, 2, 5, 4, 1, 4)]
)
def test_a_basis_has_one_axis_more(shape):
  prepare({'z': ProjectOut(np.zeros(shape))})


@pytest.mark.parametrize('shape', [(4,), (2, 5), (3, 2, 4), (1, 3, 2, 5, 4, 2, 4)])
def test_a_basis_of_another_shape_is_refused(shape):
  with pytest.raises(ValueError, match=r'basis: \[..., R, X\]'):
    prepare({'z': ProjectOut(np.zeros(shape))})


@pytest.mark.parametrize('layer', [-1, 3, np.int64(7)])
def test_a_layer_that_the_model_has_not_is_refused(layer):
  with pytest.raises(ValueError, match=rf'is {layer}; the model has layers 0..2'):
    prepare({'z': Splice(jnp.sin, layer)})


@pytest.mark.parametrize('mask', [1.0, np.ones(4, np.float32), jnp.ones(4)])
def test_a_mask_of_shares_is_refused(mask):
  with pytest.raises(ValueError, match=r'a mask selects.*edits\.Interpolate'):
    prepare({'z': Add(1.0, mask)})


def test_a_site_of_other_models_is_refused():
  with pytest.raises(ValueError, match="Unknown site 'rot_q'"):
    prepare({'rot_q': Add(1.0)})


def test_a_run_over_some_positions_sees_its_part_of_the_edits():
  value, mask = np.arange(5.0).reshape(5, 1, 1), np.arange(4)[:, None] == 1
  basis = np.arange(20.0).reshape(5, 1, 1, 4)
  todo = {
    'z': (Add(value, mask), ProjectOut(basis), Scale(2.0)),
    'attn_scores': Add(np.arange(25.0).reshape(5, 5)),
  }
  cut = edits.at_positions(todo, 2, 2, 5)
  np.testing.assert_array_equal(cut['z'][0].value, value[2:4])
  assert cut['z'][0].mask is mask
  np.testing.assert_array_equal(cut['z'][1].basis, basis[2:4])
  assert cut['z'][2] == Scale(2.0)
  # Rows of the scores are positions; their columns are keys, all of which are there.
  np.testing.assert_array_equal(
    cut['attn_scores'][0].value, np.arange(25.0).reshape(5, 5)[2:4]
  )


def test_the_start_of_the_positions_may_be_traced():
  value = np.arange(10.0).reshape(1, 1, 5, 2)

  @jax.jit
  def cut(start):
    return edits.at_positions({'resid_pre': Add(value)}, start, 2, 5)['resid_pre'][0]

  for start in (0, 3):
    np.testing.assert_array_equal(cut(start).value, value[:, :, start : start + 2])


def test_edits_of_another_length_are_refused():
  with pytest.raises(ValueError, match=r'has 4 positions.*has 5\. Give 1 or 5'):
    edits.at_positions({'z': Add(np.zeros((4, 1, 1)))}, 0, 2, 5)
