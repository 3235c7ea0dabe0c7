import itertools

import numpy as np
import pytest

from interp_jax.harvest.rows import Sequences

TOKENS = np.arange(70).reshape(7, 10)


def rows(sequences: Sequences, size: int, done: int = 0) -> np.ndarray:
  parts = [batch.provenance[part] for batch, part in sequences.batches(size, done)]
  return np.concatenate([np.zeros((0, 3), int), *parts])


@pytest.mark.parametrize('size', [1, 3, 7, 10])
def test_each_token_is_a_row_once_whatever_the_batch(size):
  np.testing.assert_array_equal(rows(Sequences(TOKENS), size)[:, 2], np.arange(70))


@pytest.mark.parametrize('drop_first', [0, 1, 3])
def test_the_first_tokens_after_left_padding_are_dropped(drop_first):
  mask = np.ones((7, 10), bool)
  mask[0, :4] = False
  mask[1, 6:] = False
  kept = rows(Sequences(TOKENS, mask, drop_first=drop_first), 3)
  expected = [
    *range(4 + drop_first, 10),
    *range(10 + drop_first, 16),
    *(t for t in range(20, 70) if t % 10 >= drop_first),
  ]
  assert kept[:, 2].tolist() == expected


def test_every_batch_has_the_same_shape_and_its_filling_gives_no_row():
  mask = TOKENS % 10 < 8
  for batch, _ in Sequences(TOKENS, mask).batches(3, 0):
    assert batch.tokens.shape == batch.mask.shape == batch.keep.shape == (3, 10)
    assert batch.keep.sum() == len(batch.provenance)


def test_continued_from_any_row_the_rest_is_the_same():
  mask = np.random.default_rng(0).random((7, 10)) < 0.5
  mask[2] = False
  sequences = Sequences(TOKENS, mask, drop_first=1)
  whole = rows(sequences, 3)
  assert len(whole) == sequences.count().sum()
  for done in range(len(whole) + 1):
    np.testing.assert_array_equal(rows(sequences, 3, done), whole[done:])
  starts = [batch.tokens[0, 0] for batch, _ in sequences.batches(3, 0)]
  for done in range(len(whole)):
    first, _ = next(sequences.batches(3, done))
    assert first.tokens[0, 0] in starts


def test_documents_may_be_given_by_sequence_or_by_token():
  by_sequence = rows(Sequences(TOKENS, documents=np.arange(7) * 5), 2)
  np.testing.assert_array_equal(by_sequence[:, 0], np.repeat(np.arange(7) * 5, 10))
  by_token = rows(Sequences(TOKENS, documents=TOKENS // 3, positions=TOKENS % 3), 2)
  np.testing.assert_array_equal(by_token[:, 0], np.arange(70) // 3)
  np.testing.assert_array_equal(by_token[:, 1], np.arange(70) % 3)


@pytest.mark.parametrize('size', [1, 3, 10])
def test_parts_of_the_rows_make_up_the_whole_from_the_same_batches(size):
  mask = np.random.default_rng(0).random((7, 10)) < 0.5
  mask[2] = False
  sequences = Sequences(TOKENS, mask, drop_first=1)
  whole = rows(sequences, size)
  starts = [batch.tokens[0, 0] for batch, _ in sequences.batches(size)]
  for cuts in ([0, 11, 12, len(whole)], [0, 0, 5, len(whole)]):
    found = []
    for start, stop in itertools.pairwise(cuts):
      for batch, part in sequences.batches(size, start, stop):
        assert batch.tokens[0, 0] in starts
        found.append(batch.provenance[part])
    np.testing.assert_array_equal(np.concatenate(found), whole)


def test_selected_sequences_keep_their_provenance():
  mask = TOKENS % 10 < 8
  sequences = Sequences(TOKENS, mask, positions=TOKENS % 7, drop_first=2)
  chosen = sequences.select(np.array([4, 1, 4]))
  picked = rows(sequences, 7).reshape(7, 6, 3)[[4, 1, 4]]
  np.testing.assert_array_equal(rows(chosen, 2), picked.reshape(-1, 3))


@pytest.mark.parametrize('name', ['mask', 'documents', 'positions'])
def test_arrays_of_other_shapes_are_refused(name):
  for shape in itertools.chain([(6,), (7, 9)], [] if name == 'documents' else [(7,)]):
    value = np.zeros(shape, bool if name == 'mask' else int)
    with pytest.raises(Exception, match=name):
      Sequences(TOKENS, **{name: value})


@pytest.mark.parametrize('drop_first', [-1, 10])
def test_dropping_all_tokens_is_refused(drop_first):
  with pytest.raises(ValueError, match='leave no rows'):
    Sequences(TOKENS, drop_first=drop_first)
