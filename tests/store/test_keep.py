import itertools
import json

import numpy as np
import pytest

from interp_jax.store import Keep


def indices(batches) -> np.ndarray:
  parts = [batch[:, 0].astype(int) for batch in batches]
  return np.concatenate(parts) if parts else np.zeros(0, int)


def test_a_filter_speaks_of_document_position_and_token(helpers):
  where = helpers.provenance(100)
  document, position, token = where.T
  np.testing.assert_array_equal(Keep()(where), np.ones(100, bool))
  np.testing.assert_array_equal(
    Keep(not_tokens=(7, 14))(where), ~np.isin(token, [7, 14])
  )
  keep = Keep(not_positions=(0,), where=lambda p: p[:, 0] < 5)
  np.testing.assert_array_equal(keep(where), (position != 0) & (document < 5))
  for wrong in (lambda p: p[:, 0], lambda p: True):
    with pytest.raises(ValueError, match='a bool for each row'):
      Keep(where=wrong)(where)


@pytest.mark.parametrize('count', [1, 3])
@pytest.mark.parametrize('window', [1, 4, 64])
def test_each_kept_row_comes_once_an_epoch_and_no_other(sound, helpers, window, count):
  keep = Keep(not_positions=(0, 9), not_tokens=(7,))
  expected = np.flatnonzero(keep(helpers.provenance(100)))
  slices = [
    sound.batches(
      7, 0, 3, keep=keep, window_blocks=window, process_index=i, process_count=count
    )
    for i in range(count)
  ]
  seen = np.bincount(np.concatenate([indices(s) for s in slices]), minlength=100)
  np.testing.assert_array_equal(np.flatnonzero(seen), expected)
  assert set(seen[expected]) == {3}


def test_arrays_of_a_kept_row_belong_together(sound, helpers):
  where = helpers.provenance(100)
  names = ['resid_post.1', 'provenance']
  for batch in sound.batches(8, 0, 1, arrays=names, keep=lambda p: p[:, 2] % 2 == 0):
    rows = batch['resid_post.1'][:, 0].astype(int)
    np.testing.assert_array_equal(batch['provenance'], where[rows])
    assert (batch['provenance'][:, 2] % 2 == 0).all()


@pytest.mark.parametrize('taken', [0, 1, 5, 12])
def test_a_restored_position_continues_with_the_same_rows(sound, taken):
  def make():
    return sound.batches(7, 3, 2, window_blocks=3, keep=Keep(not_positions=(0,)))

  original = make()
  for _ in range(taken):
    next(original)
  state = json.loads(json.dumps(original.get_state()))
  rest, restored = indices(original), make()
  next(restored)
  restored.set_state(state)
  np.testing.assert_array_equal(indices(restored), rest)
  with pytest.raises(ValueError, match='filter'):
    sound.batches(7, 3, 2, window_blocks=3).set_state(state)


def test_documents_that_are_left_out_whole_leave_no_empty_batches(sound):
  keep = Keep(where=lambda p: p[:, 0] == 7)
  for window in (1, 3):
    batches = sound.batches(4, 0, 2, keep=keep, window_blocks=window)
    sizes = [len(batch) for batch in batches]
    assert sizes == [4] * 5


@pytest.mark.parametrize('count', [1, 3])
def test_a_filter_that_keeps_no_row_ends_or_says_so(sound, count):
  settings = {'keep': Keep(where=lambda p: p[:, 0] < 0), 'process_count': count}
  assert not list(sound.batches(4, 0, 2, window_blocks=2, **settings))
  with pytest.raises(ValueError, match='keeps no row'):
    next(sound.batches(4, 0, window_blocks=2, **settings))


@pytest.mark.parametrize('count', [1, 2, 3])
def test_without_the_last_batch_all_processes_give_equally_many_full_ones(sound, count):
  keep = Keep(not_positions=(0, 5, 9))
  numbers = set()
  for index in range(count):
    batches = sound.batches(
      5, 0, 3, keep=keep, process_index=index, process_count=count, drop_last=True
    )
    sizes = [len(batch) for batch in batches]
    assert set(sizes) == {5}
    numbers.add(len(sizes))
  assert len(numbers) == 1
  assert numbers.pop() > 3 * 70 // count // 5 * 0.6


def test_for_ever_is_for_ever_with_a_filter_too(sound):
  batches = sound.batches(9, 0, keep=Keep(not_positions=(3,)))
  seen = indices(itertools.islice(batches, 30))
  assert set(np.bincount(seen, minlength=100)) == {0, 3}
