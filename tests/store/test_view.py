import numpy as np
import pytest

from interp_jax import store


@pytest.fixture
def both(sound, helpers):
  return sound.view(), helpers.activations(100)


@pytest.mark.parametrize(
  'key',
  [
    0,
    -1,
    np.int64(17),
    slice(None),
    slice(3, 50),
    slice(-10, None),
    slice(None, None, 7),
    slice(90, 10, -13),
    slice(50, 20),
    [3, 1, -4, 1],
    np.array([[1, 2], [3, 99]]),
    np.arange(100) % 3 == 0,
    (5, 2),
    (slice(5, 9), slice(None, 3)),
    (slice(0, 0), 2),
    ([1, 2], Ellipsis, 0),
  ],
)
def test_indices_give_what_numpy_gives(both, key):
  view, x = both
  read = view[key]
  assert read.dtype == x.dtype
  assert read.shape == x[key].shape
  np.testing.assert_array_equal(read, x[key])


def test_it_looks_like_an_array(both):
  view, x = both
  assert (view.shape, view.ndim, view.size) == (x.shape, x.ndim, x.size)
  assert (view.dtype, len(view)) == (x.dtype, len(x))
  np.testing.assert_array_equal(np.asarray(view), x)
  assert np.asarray(view, np.float64).dtype == np.float64
  np.testing.assert_array_equal(np.stack(list(view)[:3]), x[:3])
  np.testing.assert_allclose(np.mean(view, axis=0), x.mean(axis=0), rtol=1e-6)
  assert repr(view) == "ArrayView('resid_post.1', (100, 6), float32)"


@pytest.mark.parametrize('key', [100, -101, [3, 100], Ellipsis, None, 'name'])
def test_indices_out_of_range_are_errors(both, key):
  with pytest.raises(IndexError):
    both[0][key]


def test_no_copy_is_refused(both):
  with pytest.raises(ValueError, match='on disk'):
    np.asarray(both[0], copy=False)


def test_an_8_bit_array_looks_like_float32(tmp_path, helpers):
  view = helpers.write(tmp_path / 'd', dtype='int8').view('resid_post.1')
  assert view.dtype == np.float32
  np.testing.assert_allclose(
    view[::9], helpers.activations(100)[::9], rtol=0.02, atol=1
  )
  assert isinstance(view, store.ArrayView)
