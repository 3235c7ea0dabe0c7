import itertools
import json

import numpy as np
import pytest


def indices(batches) -> list[np.ndarray]:
  """The index of each row of each batch: `conftest.activations` puts it there."""
  return [batch[:, 0].astype(int) for batch in batches]


@pytest.mark.parametrize('rows', [99, 100, 128])
def test_each_epoch_has_every_row_once(tmp_path, helpers, rows):
  reader = helpers.write(tmp_path / 'd', rows)
  for window, size in itertools.product([1, 3, 64], [1, 16, 30, 500]):
    batches = reader.batches(size, seed=1, epochs=3, window_blocks=window)
    stream = np.concatenate(indices(batches))
    assert len(stream) == 3 * rows
    for epoch in np.split(stream, 3):
      np.testing.assert_array_equal(np.sort(epoch), np.arange(rows))


def test_every_batch_is_full_but_the_last(sound):
  sizes = [len(batch) for batch in sound.batches(30, seed=0, epochs=2)]
  assert sizes == [30] * 6 + [20]
  sizes = [len(batch) for batch in sound.batches(30, seed=0, epochs=2, drop_last=True)]
  assert sizes == [30] * 6


@pytest.mark.parametrize('count', [2, 3, 8])
def test_the_slices_of_all_processes_together_have_every_row_once(sound, count):
  slices = [
    indices(sound.batches(7, 0, 1, process_index=i, process_count=count))
    for i in range(count)
  ]
  stream = np.concatenate(list(itertools.chain(*slices)))
  np.testing.assert_array_equal(np.sort(stream), np.arange(100))


@pytest.mark.parametrize('rows', [100, 98])
@pytest.mark.parametrize('count', [1, 2, 3])
def test_without_the_last_batch_all_processes_give_equally_many_full_ones(
  tmp_path, helpers, rows, count
):
  reader = helpers.write(tmp_path / 'd', rows)
  numbers = set()
  for index in range(count):
    batches = reader.batches(
      7, 0, 3, process_index=index, process_count=count, drop_last=True
    )
    sizes = [len(batch) for batch in batches]
    assert set(sizes) == {7}
    numbers.add(len(sizes))
  assert len(numbers) == 1
  assert numbers.pop() >= 3 * (rows // count - 4) // 7


def test_a_seed_gives_one_order_and_another_seed_another(sound):
  def order(seed):
    return np.concatenate(indices(sound.batches(10, seed, 2))).tolist()

  assert order(0) == order(0)
  assert order(0) != order(1)
  assert order(0)[:100] != order(0)[100:]
  # Not even moved by an epoch.
  assert order(0)[100:] != order(1)[:100]


def test_the_batch_size_does_not_change_the_order_of_rows(sound):
  one, other = (np.concatenate(indices(sound.batches(b, 0, 2))) for b in (3, 40))
  np.testing.assert_array_equal(one, other)


def test_the_rows_of_a_batch_come_from_all_over_the_dataset(tmp_path, helpers):
  reader = helpers.write(tmp_path / 'd', 4000, chunk_rows=8, shard_rows=400)
  for batch in indices(reader.batches(200, seed=0, epochs=1, window_blocks=25)):
    assert len(np.unique(batch // 8)) > 20  # Blocks in a batch.
    assert 1000 < batch.mean() < 3000
    assert abs(np.corrcoef(batch[1:], batch[:-1])[0, 1]) < 0.35


def test_without_epochs_it_never_ends(sound):
  stream = np.concatenate(indices(itertools.islice(sound.batches(30, 0), 50)))
  counts = np.bincount(stream, minlength=100)
  assert set(counts) == {15}


@pytest.mark.parametrize('taken', [0, 1, 3, 9, 10, 11, 25])
def test_a_restored_position_continues_with_the_same_batches(sound, taken):
  def make():
    return sound.batches(10, 5, 3, window_blocks=4, drop_last=True)

  original = make()
  for _ in range(taken):
    next(original)
  state = json.loads(json.dumps(original.get_state()))
  rest = indices(original)
  restored = make()
  next(restored)
  restored.set_state(state)
  again = indices(restored)
  assert len(rest) == len(again) == 30 - taken
  for a, b in zip(rest, again, strict=True):
    np.testing.assert_array_equal(a, b)
  original.set_state(state)
  assert len(indices(original)) == 30 - taken


def test_a_position_in_another_order_is_refused(sound):
  state = sound.batches(10, seed=0).get_state()
  with pytest.raises(ValueError, match=r"'seed': 0.*'seed': 1"):
    sound.batches(10, seed=1).set_state(state)


def test_arrays_of_a_batch_belong_to_the_same_rows(sound, helpers):
  where = helpers.provenance(100)
  for batch in sound.batches(8, 0, 1, arrays=['resid_post.1', 'provenance']):
    rows = batch['resid_post.1'][:, 0].astype(int)
    np.testing.assert_array_equal(batch['provenance'], where[rows])
  alone = next(sound.batches(8, 0, 1, arrays='provenance'))
  assert alone.shape == (8, 3)


def test_batches_can_be_closed_before_their_end(sound):
  batches = sound.batches(8, 0)
  next(batches)
  batches.close()


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'batch_size': 0}, 'batch_size=0'),
    ({'epochs': 0}, 'epochs=0'),
    ({'window_blocks': 0}, 'window_blocks=0'),
    ({'seed': -1}, 'seed=-1'),
    ({'process_index': 2, 'process_count': 2}, r'process_index=2 must be in \[0, 2\)'),
    ({'process_count': 26}, '25 blocks of 4 rows, too few for process_count=26'),
  ],
)
def test_numbers_that_make_no_sense_are_refused(sound, arguments, message):
  with pytest.raises(ValueError, match=message):
    sound.batches(**{'batch_size': 8, 'seed': 0, **arguments})
