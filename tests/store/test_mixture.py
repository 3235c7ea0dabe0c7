import itertools
import json

import numpy as np
import pytest

from interp_jax import store

ROWS = (100, 60, 40)


@pytest.fixture(scope='module')
def readers(tmp_path_factory):
  """Datasets whose rows say which of them they are of, and which row."""
  folder, made = tmp_path_factory.mktemp('mixture'), []
  for number, rows in enumerate(ROWS):
    spec = store.ArraySpec('resid_post', number, (2,))
    x = np.stack([np.full(rows, number), np.arange(rows)], axis=1).astype('f')
    with store.Writer(folder / str(number), store.make_schema([spec], 4, 16)) as writer:
      writer.append({spec.name: x}, np.zeros((rows, 3), int))
    made.append(store.Reader(folder / str(number)))
  return made


def mix(readers, weights, size, epochs=None, **settings):
  sources = [reader.batches(1, 7, epochs, window_blocks=3) for reader in readers]
  return store.Mixture(sources, weights, size, seed=0, **settings)


@pytest.mark.parametrize('weights', [(1, 1, 1), (5, 3, 2), (100, 1, 10.5)])
@pytest.mark.parametrize('size', [1, 3, 16, 50])
def test_the_shares_are_those_of_the_weights_at_every_moment(readers, weights, size):
  counts = np.zeros(3)
  share = np.asarray(weights) / np.sum(weights)
  for number, batch in enumerate(itertools.islice(mix(readers, weights, size), 25), 1):
    assert batch.shape == (size, 2)
    counts += np.bincount(batch[:, 0].astype(int), minlength=3)
    assert np.abs(counts - number * size * share).max() < 2


@pytest.mark.parametrize('weights', [ROWS, (1, 1, 1)])
@pytest.mark.parametrize('size', [7, 50, 1000])
def test_every_row_comes_as_often_as_there_are_epochs(readers, weights, size):
  batches = list(mix(readers, weights, size, epochs=2))
  assert {len(batch) for batch in batches[:-1]} <= {size}
  rows = np.concatenate(batches).astype(int)
  assert len(rows) == 2 * sum(ROWS)
  for number, expected in enumerate(ROWS):
    seen = np.bincount(rows[rows[:, 0] == number, 1])
    np.testing.assert_array_equal(seen, np.full(expected, 2))


def test_the_rows_of_a_batch_are_shuffled_together(readers):
  batch = next(mix(readers, (1, 1, 1), 60))
  assert abs(np.corrcoef(batch[:, 0], np.arange(60))[0, 1]) < 0.4


@pytest.mark.parametrize('taken', [0, 1, 5, 17])
def test_a_restored_position_continues_with_the_same_batches(readers, taken):
  def make():
    return mix(readers, (5, 3, 2), 11, epochs=1, drop_last=True)

  original = make()
  for _ in range(taken):
    next(original)
  state = json.loads(json.dumps(original.get_state()))
  rest, restored = list(original), make()
  next(restored)
  restored.set_state(state)
  again = list(restored)
  assert len(rest) == len(again) == 200 // 11 - taken
  for a, b in zip(rest, again, strict=True):
    np.testing.assert_array_equal(a, b)
  with pytest.raises(ValueError, match='belongs to the mixture'):
    mix(readers, (5, 3, 1), 11).set_state(state)


def test_dicts_are_mixed_by_name_and_filters_hold(sound):
  names = ['resid_post.1', 'provenance']
  sources = [
    sound.batches(1, 0, 1, arrays=names, keep=lambda p, r=rest: p[:, 0] % 2 == r)
    for rest in (0, 1)
  ]
  seen = []
  for batch in store.Mixture(sources, [1, 2], 10, seed=0):
    np.testing.assert_array_equal(
      batch['resid_post.1'][:, 0].astype(int) // 10, batch['provenance'][:, 0]
    )
    seen.append(batch['resid_post.1'][:, 0].astype(int))
  np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(100))


def test_what_does_not_fit_together_is_refused(readers, sound):
  one = readers[0].batches(1, 0)
  for weights in ([], [1, 1], [0]):
    with pytest.raises(ValueError, match='positive weights'):
      store.Mixture([one], weights, 4, seed=0)
  with pytest.raises(ValueError, match='batch_size=0'):
    store.Mixture([one], [1], 0, seed=0)
  with pytest.raises(ValueError, match='different kinds'):
    store.Mixture([one, sound.batches(1, 0)], [1, 1], 4, seed=0)


def test_a_mixture_can_be_closed_before_its_end(readers):
  mixture = mix(readers, (1, 1, 1), 5)
  next(mixture)
  mixture.close()
