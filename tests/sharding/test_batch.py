import jax
from jax.sharding import PartitionSpec as P
import numpy as np
import pytest

from interp_jax.sharding import (
  TRANSFORMER_RULES,
  data_share,
  keep_or_replicate,
  local_rows,
  make_mesh,
  place,
  replicate,
  shard_batch,
  to_host,
)
from tests.sharding.devices import hosts


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


def test_each_process_reads_rows_of_its_own_where_it_has_whole_copies_of_the_model():
  mesh = make_mesh(model=2, devices=hosts(3, 4))
  assert [data_share(mesh, process) for process in range(3)] == [(0, 3), (1, 3), (2, 3)]


def test_processes_that_share_copies_of_the_model_read_the_same_rows():
  mesh = make_mesh(model=4, devices=hosts(4, 2), slices=2)
  assert [data_share(mesh, process) for process in range(4)] == [
    (0, 2),
    (0, 2),
    (1, 2),
    (1, 2),
  ]


def test_one_process_or_no_mesh_reads_everything():
  assert data_share(make_mesh(model=2)) == data_share(None) == (0, 1)


def test_parts_of_the_data_that_overlap_are_an_error():
  mesh = make_mesh(model=3, devices=hosts(3, 2), slices=1)
  with pytest.raises(ValueError, match='differ and overlap'):
    data_share(mesh, 0)


def test_a_process_without_devices_of_the_mesh_is_an_error():
  with pytest.raises(ValueError, match=r'Process 5 .* processes \[0, 1\]'):
    data_share(make_mesh(devices=hosts(2, 2)), 5)


def test_what_lies_on_the_mesh_stays_and_the_rest_is_replicated():
  mesh = make_mesh(model=2)
  placed = place(mesh, TRANSFORMER_RULES, {'embed': {'W_E': np.ones((4, 3))}})
  tree = keep_or_replicate(mesh, placed | {'mean': np.ones(3)})
  assert tree['embed']['W_E'] is placed['embed']['W_E']
  assert tree['mean'].sharding == replicate(mesh, np.ones(3)).sharding


def test_the_way_to_a_mesh_and_back_changes_nothing():
  mesh = make_mesh(model=2)
  rows = np.arange(8 * 3).reshape(8, 3)
  batch = shard_batch(mesh, rows)
  assert isinstance(local_rows(batch), np.ndarray)
  np.testing.assert_array_equal(local_rows(batch), rows)
  tree = to_host({'rows': batch, 'mean': replicate(mesh, np.ones(3)), 'step': 3})
  assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(tree))
  np.testing.assert_array_equal(tree['rows'], rows)
