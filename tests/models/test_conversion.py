"""Rows read and write the same, and say where every axis goes."""

import numpy as np
import pytest

from interp_jax.models.conversion import Row, make_plan, places
from interp_jax.testing import tiny_model

CFG = tiny_model(kv_heads=2, width=12)[0].cfg  # 3 layers, 4 heads of 4, 2 of keys.
SHAPES = {
  'blocks/attn/W_Q': (3, 4, 12, 4),
  'blocks/attn/W_K': (3, 2, 12, 4),
  'blocks/attn/W_V': (3, 2, 12, 4),
}
QKV = tuple(SHAPES)
RNG = np.random.default_rng(0)


def parts_of(row, shapes=SHAPES):
  return make_plan([row], shapes, CFG).parts


def test_queries_keys_and_values_follow_each_other_in_one_tensor():
  parts = parts_of(Row('qkv.{l}', QKV, '(n k) d -> n d k'))
  tensor = RNG.normal(size=(8 * 4, 12))
  assert parts['blocks/attn/W_Q'].tensor_shape == tensor.shape
  by_head = tensor.reshape(8, 4, 12).swapaxes(1, 2)
  np.testing.assert_array_equal(parts['blocks/attn/W_Q'].take(tensor), by_head[:4])
  np.testing.assert_array_equal(parts['blocks/attn/W_K'].take(tensor), by_head[4:6])
  np.testing.assert_array_equal(parts['blocks/attn/W_V'].take(tensor), by_head[6:])


def test_groups_hold_their_queries_then_a_key_and_a_value():
  parts = parts_of(Row('qkv.{l}', QKV, '(g n k) d -> (g n) d k'))
  tensor = RNG.normal(size=(2 * 4 * 4, 12))
  groups = tensor.reshape(2, 4, 4, 12).swapaxes(2, 3)  # Group, 2 q + k + v, d, k.
  q = parts['blocks/attn/W_Q'].take(tensor)
  np.testing.assert_array_equal(q, groups[:, :2].reshape(4, 12, 4))
  np.testing.assert_array_equal(parts['blocks/attn/W_K'].take(tensor), groups[:, 2])
  np.testing.assert_array_equal(parts['blocks/attn/W_V'].take(tensor), groups[:, 3])


@pytest.mark.parametrize(
  'axes', ['(n k) d -> n d k', '(g n k) d -> (g n) d k', 'd (n k) -> n d k']
)
def test_what_is_taken_and_put_back_is_the_tensor(axes):
  parts = parts_of(Row('qkv.{l}', QKV, axes))
  shape = parts['blocks/attn/W_Q'].tensor_shape
  tensor, again = RNG.normal(size=shape), np.full(shape, np.nan)
  for part in parts.values():
    part.put(part.take(tensor), again)
  np.testing.assert_array_equal(again, tensor)


def test_skipped_rows_are_not_read_and_stay_as_they_are_when_written():
  shapes = {'pos_embed/W_pos': (16, 12)}
  part = parts_of(Row('p', 'pos_embed/W_pos', 't d -> t d', skip=2), shapes)
  part = part['pos_embed/W_pos']
  tensor, again = RNG.normal(size=(18, 12)), np.zeros((18, 12))
  np.testing.assert_array_equal(part.take(tensor), tensor[2:])
  part.put(part.take(tensor), again)
  np.testing.assert_array_equal(again[2:], tensor[2:])
  np.testing.assert_array_equal(again[:2], 0)


def test_a_plan_names_every_tensor_of_every_layer():
  plan = make_plan([Row('qkv.{l}.w', QKV, '(n k) d -> n d k')], SHAPES, CFG)
  found = places(plan, CFG)
  assert list(found) == ['qkv.0.w', 'qkv.1.w', 'qkv.2.w']
  assert [place.path for place in found['qkv.1.w']] == list(QKV)
  assert found['qkv.1.w'][0].at == (1,)


def test_a_row_that_is_missing_or_beyond_the_model_is_an_error():
  row = Row('q.{l}', 'blocks/attn/W_Q', '(h k) d -> h d k')
  with pytest.raises(ValueError, match=r'missing for \[.blocks/attn/W_K'):
    parts_of(row)
  with pytest.raises(ValueError, match='no parameter blocks/attn/W_X'):
    parts_of(Row('x.{l}', 'blocks/attn/W_X', 'd -> d'))
