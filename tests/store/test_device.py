import jax
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
import pytest

from interp_jax import sharding, store


def test_batches_on_devices_are_those_of_the_host(sound):
  host = list(sound.batches(16, 0, 1))
  for ahead in (0, 1, 2, 100):
    placed = list(store.DeviceBatches(sound.batches(16, 0, 1), ahead=ahead))
    assert all(isinstance(batch, jax.Array) for batch in placed)
    for a, b in zip(host, placed, strict=True):
      np.testing.assert_array_equal(a, b)


def test_batches_are_laid_out_as_asked(sound):
  mesh = sharding.make_mesh()
  layout = NamedSharding(mesh, PartitionSpec('data'))
  names = ['resid_post.1', 'provenance']
  batches = sound.batches(16, 0, 1, arrays=names, drop_last=True)
  for batch in store.DeviceBatches(batches, layout):
    for rows in batch.values():
      assert rows.sharding.is_equivalent_to(layout, rows.ndim)
      assert len(rows.addressable_shards) == 8
      assert rows.addressable_shards[0].data.shape[0] == 2


@pytest.mark.parametrize('taken', [0, 1, 4])
def test_the_position_is_that_of_the_batches_that_were_handed_out(sound, taken):
  def make():
    return store.DeviceBatches(sound.batches(9, 0, 2, window_blocks=3), ahead=3)

  original = make()
  for _ in range(taken):
    next(original)
  state = original.get_state()
  rest, restored = list(original), make()
  next(restored)
  restored.set_state(state)
  assert restored.get_state() == state
  again = list(restored)
  assert len(again) == len(rest) == 23 - taken
  for a, b in zip(rest, again, strict=True):
    np.testing.assert_array_equal(a, b)


def test_all_three_kinds_of_batches_have_the_same_surface(sound):
  batches = sound.batches(8, 0)
  mixture = store.Mixture([batches], [1], 8, seed=0)
  placed = store.DeviceBatches(mixture)
  for iterator in (batches, mixture, placed):
    assert isinstance(iterator, store.BatchIterator)
  assert next(placed).shape == (8, 6)
  placed.close()
  with pytest.raises(ValueError, match='ahead=-1'):
    store.DeviceBatches(batches, ahead=-1)
