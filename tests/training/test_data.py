"""The order of the data: seeded, whole epochs, resumable, one for all processes."""

import json

import numpy as np
import pytest

from interp_jax.training import ArrayBatches, batches

ROWS = np.arange(10)[:, None]


def take(iterator, count):
  return np.stack([next(iterator)[:, 0] for _ in range(count)])


def test_each_epoch_has_every_row_once_in_an_order_of_its_own():
  found = take(batches(ROWS, 5, seed=0), 6).reshape(3, 10)
  for epoch in found:
    assert sorted(epoch) == list(range(10))
  assert len({tuple(epoch) for epoch in found}) == 3


def test_the_order_is_a_function_of_the_seed():
  first, again, other = (take(batches(ROWS, 2, seed=seed), 5) for seed in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert (first != other).any()


def test_a_restored_iterator_goes_on_where_the_saved_one_was():
  iterator = batches(ROWS, 4, seed=0)
  take(iterator, 3)
  state = iterator.get_state()
  expected = take(iterator, 5)
  restored = batches(ROWS, 4, seed=0)
  restored.set_state(state)
  np.testing.assert_array_equal(take(restored, 5), expected)


@pytest.mark.parametrize('processes', [2, 3])
def test_the_batches_of_all_processes_make_up_the_batches_of_one(processes):
  whole = take(batches(ROWS, 6, seed=0), 7)
  parts = [take(batches(ROWS, 6, 0, index, processes), 7) for index in range(processes)]
  found = np.concatenate(parts, axis=1)
  np.testing.assert_array_equal(np.sort(found, axis=1), np.sort(whole, axis=1))


def test_rows_in_memory_come_once_in_each_epoch_in_an_order_that_resumes():
  rows = np.arange(20)[:, None]
  iterator = ArrayBatches(rows, 6, seed=1)
  epochs = take(iterator, 6).reshape(2, 18)
  assert [len(set(epoch)) for epoch in epochs] == [18, 18]
  assert (epochs[0] != epochs[1]).any()
  state = json.loads(json.dumps(iterator.get_state()))
  expected = take(iterator, 4)
  restored = ArrayBatches(rows, 6, seed=1)
  restored.set_state(state)
  np.testing.assert_array_equal(take(restored, 4), expected)


def test_batches_that_cannot_be_made_are_refused():
  with pytest.raises(ValueError, match='choose between 1 and 10'):
    ArrayBatches(ROWS, 11)
  with pytest.raises(ValueError, match='does not divide over 2 processes'):
    batches(ROWS, 3, 0, 0, 2)
  with pytest.raises(ValueError, match='larger than the data'):
    batches(ROWS, 11, 0)
