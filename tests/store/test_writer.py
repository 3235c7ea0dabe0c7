import numpy as np
import pytest

from interp_jax import store
from interp_jax.store.folder import Folder


def bits(x: np.ndarray) -> bytes:
  return np.ascontiguousarray(x).tobytes()


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('rows', [1, 4, 16, 64, 99])
def test_what_is_read_is_what_was_written_bit_for_bit(place, helpers, dtype, rows):
  reader = helpers.write(place('d'), rows, dtype)
  assert len(reader) == rows
  assert reader.numpy().dtype == helpers.activations(rows, dtype).dtype
  assert bits(reader.numpy()) == bits(helpers.activations(rows, dtype))
  assert bits(reader.numpy('provenance')) == bits(helpers.provenance(rows))


def test_zeros_of_both_signs_and_subnormal_values_survive(tmp_path):
  values = np.array([0.0, -0.0, 1e-40, -1e-45], np.float32)
  spec = store.ArraySpec('embed', None, (1,))
  with store.Writer(tmp_path / 'd', store.make_schema([spec], 2, 2)) as writer:
    writer.append({'embed': values[:, None]}, np.zeros((4, 3), np.int32))
  assert bits(store.Reader(tmp_path / 'd').numpy()) == bits(values)


@pytest.mark.parametrize('dtype', ['float32', 'int8'])
def test_the_bytes_do_not_depend_on_how_many_rows_are_appended_at_once(
  tmp_path, helpers, dtype
):
  helpers.write(tmp_path / 'a', dtype=dtype, step=1, covariance=True)
  helpers.write(tmp_path / 'b', dtype=dtype, step=100, covariance=True)
  assert helpers.contents(tmp_path / 'a') == helpers.contents(tmp_path / 'b')


@pytest.mark.parametrize('service', ['s3', 'gs'])
def test_a_bucket_holds_the_same_bytes_as_a_folder_and_gives_the_same_rows(
  tmp_path, helpers, request, service
):
  url = f'{request.getfixturevalue(service)}/same'
  folder = helpers.write(tmp_path / 'd', covariance=True)
  bucket = helpers.write(url, covariance=True)
  assert bucket.path == url
  assert helpers.contents(url) == helpers.contents(tmp_path / 'd')
  for a, b in zip(folder.batches(9, 0, 1), bucket.batches(9, 0, 1), strict=True):
    np.testing.assert_array_equal(a, b)
  with pytest.raises(store.FinishedError):
    helpers.write(url, covariance=True)
  helpers.flip(url, 'resid_post.1/c/2/0', 5)
  assert [damage.chunk for damage in store.Reader(url).verify()] == [8]


def test_a_file_url_is_a_folder(tmp_path, helpers):
  reader = helpers.write(f'file://{tmp_path}/d/')
  assert reader.path == tmp_path / 'd'
  with pytest.raises(store.StoreError, match='a URL begins with s3://, gs://, file://'):
    store.Reader('http://example.org/d')


def test_several_arrays_of_several_shapes_and_dtypes_share_their_rows(tmp_path):
  specs = [
    store.ArraySpec('z', 0, (2, 3), 'bfloat16'),
    store.ArraySpec('z', 3, (2, 3), 'float32'),
    store.ArraySpec('embed', None, (5,), 'float32'),
  ]
  rng = np.random.default_rng(0)
  rows = {s.name: rng.standard_normal((21, *s.shape)).astype(s.np_dtype) for s in specs}
  where = rng.integers(0, 9, (21, 3))
  with store.Writer(tmp_path / 'd', store.make_schema(specs, 2, 8)) as writer:
    writer.append(rows, where)
  reader = store.Reader(tmp_path / 'd')
  assert reader.names == ('z.0', 'z.3', 'embed')
  picked = reader.rows([20, 3, 3], ['z.0', 'embed', 'provenance'])
  assert set(picked) == {'z.0', 'embed', 'provenance'}
  assert bits(picked['z.0']) == bits(rows['z.0'][[20, 3, 3]])
  assert (picked['provenance'] == where[[20, 3, 3]]).all()
  with pytest.raises(ValueError, match=r'Say which array.*z\.0, z\.3, embed'):
    reader.numpy()


class Stop(BaseException):
  """Ends the process in the eyes of the writer."""


def test_stopped_before_any_write_of_metadata_it_resumes_to_the_same_bytes(
  place, helpers, monkeypatch
):
  helpers.write(place('whole'), covariance=True)
  whole, write_file = helpers.contents(place('whole')), Folder.write
  moments = 0
  while True:
    path, left = place(str(moments)), [moments]

    def stopping(self, name, data, left=left):
      left[0] -= 1
      if left[0] < 0:
        raise Stop
      write_file(self, name, data)

    monkeypatch.setattr(Folder, 'write', stopping)
    try:
      helpers.write(path, covariance=True)
      break
    except Stop:
      pass
    monkeypatch.undo()
    helpers.write(path, covariance=True)
    assert helpers.contents(path) == whole
    moments += 1
  assert helpers.contents(path) == whole
  # Progress, the records of shards, the covariance, zarr.json twice, the manifest.
  assert moments == 1 + 7 + 1 + 2 + 1


def test_leftovers_of_a_killed_process_do_not_survive(tmp_path, helpers):
  helpers.write(tmp_path / 'whole')
  path = tmp_path / 'resumed'
  x, where = helpers.activations(100), helpers.provenance(100)
  schema = helpers.schema()
  writer = store.Writer(path, schema, description='test', metadata={'seed': 0})
  writer.append({'resid_post.1': x[:40]}, where[:40])
  writer.close()
  shard = path / 'resid_post.1' / 'c' / '2'
  shard.mkdir()
  (shard / '0').write_bytes(b'half a shard')
  (shard / '0.__lock').write_bytes(b'a lock')
  reader = helpers.write(path)
  assert reader.verify() == []
  assert helpers.contents(path) == helpers.contents(tmp_path / 'whole')


def test_an_exception_in_the_block_leaves_a_dataset_that_can_be_continued(
  tmp_path, helpers
):
  schema = helpers.schema()
  x, where = helpers.activations(100), helpers.provenance(100)
  arguments = {'description': 'test', 'metadata': {'seed': 0}}

  def fail_in_the_block():
    with store.Writer(tmp_path / 'd', schema, **arguments) as writer:
      writer.append({'resid_post.1': x[:40]}, where[:40])
      raise KeyError

  with pytest.raises(KeyError):
    fail_in_the_block()
  with pytest.raises(store.UnfinishedError, match='is not finished'):
    store.Reader(tmp_path / 'd')
  assert store.Writer(tmp_path / 'd', schema, **arguments).rows == 32


def test_a_finished_dataset_is_not_written_again(tmp_path, helpers):
  helpers.write(tmp_path / 'd')
  before = helpers.contents(tmp_path / 'd')
  with pytest.raises(store.FinishedError, match='finished'):
    helpers.write(tmp_path / 'd')
  assert helpers.contents(tmp_path / 'd') == before


def test_continuing_with_other_settings_says_what_differs(tmp_path, helpers):
  spec = store.ArraySpec('resid_post', 1, (helpers.width,))
  store.Writer(
    tmp_path / 'd', store.make_schema([spec], 4, 16), metadata={'model': 'a'}
  ).close()
  with pytest.raises(
    store.StoreError, match=r"metadata\.model: there 'a', asked .*'b'"
  ):
    store.Writer(
      tmp_path / 'd', store.make_schema([spec], 4, 16), metadata={'model': 'b'}
    )
  with pytest.raises(store.StoreError, match='shard_rows: there 16, asked for 32'):
    store.Writer(
      tmp_path / 'd', store.make_schema([spec], 4, 32), metadata={'model': 'a'}
    )


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path, helpers):
  (tmp_path / 'thesis.tex').write_text('years of work')
  with pytest.raises(store.StoreError, match='is not empty and holds no activation'):
    helpers.write(tmp_path)
  assert helpers.contents(tmp_path) == {'thesis.tex': b'years of work'}
  with pytest.raises(store.StoreError, match='Cannot make the folder'):
    helpers.write(tmp_path / 'thesis.tex')


def test_rows_that_do_not_fit_the_schema_are_refused(tmp_path, helpers):
  schema = helpers.schema()
  writer = store.Writer(tmp_path / 'd', schema)
  x, where = helpers.activations(8), helpers.provenance(8)
  with pytest.raises(ValueError, match=r"Unknown array 'resid_post'.*Did you mean"):
    writer.append({'resid_post': x}, where)
  with pytest.raises(ValueError, match=r"'resid_post\.1' has none"):
    writer.append({}, where)
  with pytest.raises(ValueError, match=r'have shape \(8, 5\), expected \(8, 6\)'):
    writer.append({'resid_post.1': x[:, 1:]}, where)
  with pytest.raises(ValueError, match='must fit int32'):
    writer.append({'resid_post.1': x}, where.astype(np.int64) + 2**32)
  with pytest.raises(store.StoreError, match='it has no rows'):
    writer.finish()


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_and_located(tmp_path, helpers, value):
  schema = helpers.schema()
  x, where = helpers.activations(48), helpers.provenance(48)
  x[20, 3] = value
  with (
    pytest.raises(store.StoreError, match=r'resid_post\.1.*NaN.*rows 16 to 31'),
    store.Writer(tmp_path / 'd', schema) as writer,
  ):
    writer.append({'resid_post.1': x}, where)
  records = (tmp_path / 'd' / 'progress').iterdir()
  assert [record.name for record in records] == ['00000000.npz']
