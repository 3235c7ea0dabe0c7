import numpy as np
import pytest

from interp_jax import store


@pytest.mark.parametrize('order', ['ascending', 'shuffled', 'descending'])
def test_a_document_and_a_position_lead_to_their_row(tmp_path, helpers, order):
  where = helpers.provenance(300)
  where[:, 1] -= 1  # A position may be -1: what stands before a text.
  if order == 'shuffled':
    where = np.random.default_rng(0).permutation(where)
  elif order == 'descending':
    where = where[::-1]
  spec = store.ArraySpec('embed', None, (1,))
  with store.Writer(tmp_path / 'd', store.make_schema([spec], 4, 16)) as writer:
    writer.append({'embed': np.arange(300.0)[:, None]}, where)
  reader = store.Reader(tmp_path / 'd')
  asked = np.random.default_rng(1).integers(0, 300, 50)
  found = reader.locate(where[asked, 0], where[asked, 1])
  np.testing.assert_array_equal(found, asked)
  np.testing.assert_array_equal(reader.rows(found)[:, 0], asked)
  np.testing.assert_array_equal(
    reader.locate([0, 30, -1, 5, 2**40, 3], [0, 0, 0, 9, 0, 2**33]),
    [*reader.locate([0], [0]), -1, -1, -1, -1, -1],
  )
  assert reader.locate([], []).shape == (0,)


def test_of_rows_with_the_same_document_and_position_it_is_the_first(tmp_path):
  spec = store.ArraySpec('embed', None, (1,))
  where = np.zeros((40, 3), int)
  where[7:, 1] = 1
  with store.Writer(tmp_path / 'd', store.make_schema([spec], 4, 16)) as writer:
    writer.append({'embed': np.zeros((40, 1))}, where)
  reader = store.Reader(tmp_path / 'd')
  np.testing.assert_array_equal(reader.locate([0, 0], [1, 0]), [7, 0])
  with pytest.raises(ValueError, match='as many positions'):
    reader.locate([0, 0], [1])


def test_only_the_shards_that_can_hold_a_document_are_read(dataset):
  (dataset.path / 'provenance' / 'c' / '0' / '0').unlink()
  reader = store.Reader(dataset.path)
  np.testing.assert_array_equal(reader.locate([9, 4], [3, 0]), [93, 40])
  with pytest.raises(store.DamagedError, match='provenance/c/0/0'):
    reader.locate([0], [0])
