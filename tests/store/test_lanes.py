"""Batches that processes share: the same whoever reads them."""

import numpy as np
import pytest

from interp_jax import store


@pytest.fixture(scope='module')
def reader(tmp_path_factory):
  rows = np.arange(40 * 16 + 5, dtype=np.float32)
  index = np.arange(len(rows), dtype=np.int32)
  where = np.stack([index, index, index], 1)
  folder = tmp_path_factory.mktemp('lanes') / 'd'
  spec = store.ArraySpec('resid_post', 1, (1,), 'float32')
  with store.Writer(folder, store.make_schema([spec], 16, 64)) as writer:
    writer.append({'resid_post.1': rows[:, None]}, where)
  return store.Reader(folder)


def lanes_of(reader, lanes, processes, **options):
  return [
    store.Lanes(
      reader, 24, 0, lanes, window_blocks=8,
      process_index=i, process_count=processes, **options,
    )
    for i in range(processes)
  ]  # fmt: skip


def take(parts, count):
  """The global batches: the rows of all processes, one behind the other."""
  return np.stack([np.concatenate([next(p) for p in parts]) for _ in range(count)])


@pytest.mark.parametrize('lanes', [1, 2, 4])
def test_the_batches_are_the_same_for_any_number_of_processes(reader, lanes):
  expected = take(lanes_of(reader, lanes, 1), 60)
  for processes in (2, 3, 4, 8):
    found = take(lanes_of(reader, lanes, processes), 60)
    np.testing.assert_array_equal(found, expected)


def test_one_lane_is_the_order_of_the_reader(reader):
  plain = reader.batches(24, 0, window_blocks=8)
  expected = np.stack([next(plain) for _ in range(60)])
  np.testing.assert_array_equal(take(lanes_of(reader, 1, 1), 60), expected)


@pytest.mark.parametrize('lanes', [2, 4])
def test_every_row_comes_once_in_an_epoch(reader, lanes):
  epoch = take(lanes_of(reader, lanes, 2), len(reader) // 24 - lanes).ravel()
  assert len(np.unique(epoch)) == len(epoch)


def test_lanes_that_are_a_multiple_of_the_processes_are_read_by_one_each(reader):
  for part in lanes_of(reader, 4, 2):
    assert len(part._streams) == 2
  assert [list(part._streams) for part in lanes_of(reader, 2, 4)] == [
    [0],
    [0],
    [1],
    [1],
  ]


def test_a_position_is_taken_up_by_another_number_of_processes(reader):
  expected = take(lanes_of(reader, 4, 1), 40)
  (one,) = before = lanes_of(reader, 4, 1)
  take(before, 25)
  for processes in (1, 2, 8):
    parts = lanes_of(reader, 4, processes)
    for part in parts:
      part.set_state(one.get_state())
    np.testing.assert_array_equal(take(parts, 15), expected[25:])


def test_numbers_that_do_not_fit_are_refused(reader):
  with pytest.raises(ValueError, match='does not divide over 5 lanes'):
    lanes_of(reader, 5, 1)
  with pytest.raises(ValueError, match='does not divide over 7 processes'):
    lanes_of(reader, 1, 7)
  (one,), (two,) = lanes_of(reader, 1, 1), lanes_of(reader, 2, 1)
  with pytest.raises(ValueError, match='in 1 lanes, and these are 2'):
    two.set_state(one.get_state())
