import numpy as np
import pytest

from interp_jax import store


def test_rows_come_in_the_order_of_their_indices_repeated_or_not(dataset, helpers):
  indices = np.array([99, 0, 17, 17, 3, 50])
  np.testing.assert_array_equal(
    dataset.rows(indices), helpers.activations(100)[indices]
  )
  np.testing.assert_array_equal(
    dataset.provenance(indices), helpers.provenance(100)[indices]
  )
  assert dataset.rows([]).shape == (0, helpers.width)


def test_consecutive_rows_may_start_and_stop_anywhere(dataset, helpers):
  x = helpers.activations(100)
  for start, stop in [(0, 0), (0, 1), (3, 5), (15, 17), (90, 100), (0, 100)]:
    np.testing.assert_array_equal(dataset.numpy(start=start, stop=stop), x[start:stop])
  np.testing.assert_array_equal(dataset.numpy(start=97, stop=1000), x[97:])


@pytest.mark.parametrize('indices', [[100], [-1], [3, 2**40]])
def test_rows_out_of_range_are_an_error(dataset, indices):
  with pytest.raises(IndexError, match='has rows 0 to 99'):
    dataset.rows(indices)


def test_an_unknown_array_lists_the_arrays(dataset):
  match = r"Unknown array 'resid_post'\. Did you mean .* resid_post\.1, provenance"
  for ask in (
    lambda: dataset.rows([0], 'resid_post'),
    lambda: dataset.numpy(['resid_post']),
    lambda: dataset.batches(4, seed=0, arrays='resid_post'),
    lambda: dataset.statistics('resid_post'),
  ):
    with pytest.raises(ValueError, match=match):
      ask()


def test_the_manifest_returns_what_was_said(dataset):
  assert dataset.manifest.description == 'test'
  assert dataset.manifest.metadata == {'seed': 0}
  assert dataset.manifest.schema.arrays[0].layer == 1
  assert repr(dataset).endswith('100 rows of resid_post.1')


def test_default_sizes_keep_chunks_small_and_shards_few():
  for width in (1, 192, 768, 16384, 10**6):
    specs = [store.ArraySpec('resid_post', layer, (width,)) for layer in (0, 1)]
    schema = store.make_schema(specs)
    chunk = schema.chunk_rows * specs[0].row_bytes
    assert chunk <= 2**19 or schema.chunk_rows == 1
    assert schema.shard_rows == 64 * schema.chunk_rows


@pytest.mark.parametrize('sizes', [(4, 6), (0, 4), (4, 0)])
def test_sizes_that_do_not_fit_are_refused(sizes):
  with pytest.raises(ValueError, match='multiple'):
    store.make_schema([store.ArraySpec('embed', None, (2,))], *sizes)


def test_two_arrays_of_one_name_are_refused():
  with pytest.raises(ValueError, match='distinct names'):
    store.make_schema([store.ArraySpec('embed', None, (2,))] * 2)
  with pytest.raises(ValueError, match='distinct names'):
    store.make_schema([store.ArraySpec('provenance', None, (2,))])
  with pytest.raises(ValueError, match="dtype 'float16'"):
    store.ArraySpec('embed', None, (2,), 'float16')
