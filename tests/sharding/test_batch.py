import jax
from jax.sharding import PartitionSpec as P
import numpy as np
import pytest

from interp_jax.sharding import make_mesh, replicate, shard_batch


def test_rows_are_split_over_data_and_keep_their_order():
  mesh = make_mesh(model=2)
  tokens = np.arange(8 * 3).reshape(8, 3)
  batch = shard_batch(mesh, {'tokens': tokens, 'weights': np.ones(8)})
  assert batch['tokens'].sharding.spec == P('data')
  assert batch['tokens'].addressable_shards[0].data.shape == (2, 3)
  np.testing.assert_array_equal(batch['tokens'], tokens)
  np.testing.assert_array_equal(batch['weights'], np.ones(8))


def test_a_batch_that_is_split_already_is_left_as_it_is():
  mesh = make_mesh(model=2)
  batch = shard_batch(mesh, np.arange(8 * 3).reshape(8, 3))
  assert shard_batch(mesh, batch) is batch
  whole = replicate(mesh, np.arange(8))
  assert shard_batch(mesh, whole).sharding.spec == P('data')


def test_a_batch_that_does_not_divide_is_an_error_that_says_so():
  with pytest.raises(ValueError, match=r"6 rows.*'data' of size 8 does not divide"):
    shard_batch(make_mesh(), np.zeros((6, 3)))


def test_a_scalar_is_not_a_batch():
  with pytest.raises(ValueError, match='leading batch axis'):
    shard_batch(make_mesh(), {'step': 3})


def test_replicated_values_are_whole_on_every_device():
  tree = replicate(make_mesh(model=2), {'step': 3, 'mean': np.arange(5.0)})
  assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(tree))
  assert len(tree['mean'].addressable_shards) == 8
  np.testing.assert_array_equal(tree['mean'], np.arange(5.0))
