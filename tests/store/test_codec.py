import json

import numpy as np
import pytest

from interp_jax import store
from interp_jax.store import codec


def write_rows(path, x: np.ndarray, dtype: str = 'int8') -> store.Reader:
  spec = store.ArraySpec('z', 0, x.shape[1:], dtype)
  with store.Writer(path, store.make_schema([spec], 8, 32)) as writer:
    writer.append({'z.0': x}, np.zeros((len(x), 3), int))
  return store.Reader(path)


def test_8_bit_rows_are_within_half_a_step_of_what_was_given(place):
  x = np.random.default_rng(0).standard_normal((100, 4, 5)).astype(np.float32)
  x *= np.geomspace(1e-20, 1e20, 100, dtype=np.float32)[:, None, None]
  read = write_rows(place('d'), x).numpy()
  assert read.dtype == np.float32
  step = np.abs(x).max(axis=(1, 2), keepdims=True) / 127
  assert (np.abs(read - x) <= 0.5001 * step).all()
  assert (np.abs(read - x).max(axis=(1, 2)) > 0).all()


def test_the_largest_value_of_a_row_and_zeros_are_exact(tmp_path):
  x = np.zeros((3, 4), np.float32)
  x[1] = [3.5, -1, 0, 0]
  x[2] = 1e-45
  read = write_rows(tmp_path / 'd', x).numpy()
  np.testing.assert_array_equal(read[0], 0)
  assert read[1, 0] == np.float32(3.5)
  assert read[1, 2] == 0
  np.testing.assert_allclose(read[2], 0, atol=2e-45)


@pytest.mark.parametrize('dtype', ['int8', 'bfloat16', 'float32'])
def test_the_recorded_error_is_the_measured_one(tmp_path, dtype):
  x = np.random.default_rng(0).standard_normal((300, 7)).astype(np.float32)
  reader = write_rows(tmp_path / 'd', x, dtype)
  error = np.square(reader.numpy().astype(float) - x).sum(axis=1).mean()
  statistics = reader.statistics()
  np.testing.assert_allclose(statistics.mean_squared_error, error, rtol=1e-5)
  ratio = np.sqrt(error / np.square(reader.numpy().astype(float)).sum(1).mean())
  np.testing.assert_allclose(statistics.relative_error, ratio, rtol=1e-5)
  small = {'int8': (1e-3, 1e-2), 'bfloat16': (1e-4, 2**-8), 'float32': (-1, 0)}
  low, high = small[dtype]
  assert low < statistics.relative_error <= high
  stored = json.loads((reader.path / 'manifest.json').read_text())['statistics']
  assert stored['z.0']['mean_squared_error'] == statistics.mean_squared_error


def test_rows_in_the_stored_dtype_have_no_error(tmp_path, helpers):
  reader = helpers.write(tmp_path / 'd', dtype='bfloat16')
  assert reader.statistics().mean_squared_error == 0


def test_the_dtype_may_change_from_one_call_to_the_next(tmp_path):
  x = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
  spec = store.ArraySpec('z', 0, (3,), 'bfloat16')
  parts = np.split(x, [3, 9, 14])
  parts[0], parts[2] = parts[0].astype(spec.np_dtype), parts[2].astype(float)
  with store.Writer(tmp_path / 'd', store.make_schema([spec], 8, 16)) as writer:
    for part in parts:
      writer.append({'z.0': part}, np.zeros((len(part), 3), int))
  np.testing.assert_array_equal(
    store.Reader(tmp_path / 'd').numpy(), x.astype(spec.np_dtype)
  )


def test_quantising_twice_changes_nothing_more():
  x = np.random.default_rng(0).standard_normal((50, 9)).astype(np.float32)
  once = codec.dequantize(*codec.quantize(x))
  twice = codec.dequantize(*codec.quantize(once))
  np.testing.assert_allclose(once, twice, rtol=1e-6)


def test_an_8_bit_array_takes_a_quarter_and_has_its_scales_beside_it(tmp_path):
  x = np.random.default_rng(0).standard_normal((64, 100)).astype(np.float32)
  reader = write_rows(tmp_path / 'd', x)
  sizes = {
    name: sum(f.stat().st_size for f in (reader.path / name / 'c').rglob('*/0'))
    for name in ('z.0',)
  }
  assert sizes['z.0'] < x.nbytes / 4 * 1.1
  assert (reader.path / 'z.0.scale' / 'zarr.json').exists()
  assert reader.names == ('z.0',)
  assert reader.manifest.schema.arrays[0].row_bytes == 104


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_in_8_bits_too(tmp_path, value):
  x = np.ones((40, 3), np.float32)
  x[35, 1] = value
  with pytest.raises(store.StoreError, match=r'z\.0.*NaN.*rows 32 to 39'):
    write_rows(tmp_path / 'd', x)
