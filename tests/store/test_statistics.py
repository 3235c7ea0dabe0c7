import numpy as np
import pytest

from interp_jax import store


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16', 'int8'])
def test_statistics_are_those_of_numpy_on_the_rows_as_they_are_read(
  tmp_path, helpers, dtype
):
  reader = helpers.write(tmp_path / 'd', 100, dtype, covariance=True)
  statistics = reader.statistics()
  x = reader.numpy().astype(np.float64)
  norms = np.linalg.norm(x, axis=1)
  assert statistics.rows == 100
  np.testing.assert_allclose(statistics.mean, x.mean(0), rtol=1e-12)
  np.testing.assert_allclose(statistics.mean_norm, norms.mean(), rtol=1e-12)
  np.testing.assert_allclose(statistics.second_moment, (x**2).mean(0), rtol=1e-12)
  np.testing.assert_allclose(statistics.mean_squared_norm, (norms**2).mean())
  np.testing.assert_allclose(statistics.variance, x.var(0), rtol=1e-9)
  np.testing.assert_allclose(statistics.total_variance, x.var(0).sum(), rtol=1e-10)
  np.testing.assert_allclose(reader.covariance(), np.cov(x.T, bias=True), rtol=1e-8)


def test_they_do_not_depend_on_the_cuts_but_in_the_last_bits(tmp_path, helpers):
  a, b = (
    helpers.write(tmp_path / str(n), chunk_rows=4, shard_rows=n, covariance=True)
    for n in (4, 64)
  )
  for name in ('mean', 'second_moment', 'mean_norm'):
    np.testing.assert_allclose(
      getattr(a.statistics(), name), getattr(b.statistics(), name), rtol=1e-13
    )
  np.testing.assert_allclose(a.covariance(), b.covariance(), rtol=1e-11)


def test_sums_of_parts_merge_to_the_sums_of_the_whole():
  x = np.random.default_rng(0).standard_normal((1000, 2, 3)).astype(np.float32)
  whole, merged = (store.RunningStatistics((2, 3), covariance=True) for _ in range(2))
  whole.add(x)
  for part in np.split(x, [10, 500]):
    running = store.RunningStatistics((2, 3), covariance=True)
    running.add(part)
    merged.merge(running)
  assert merged.rows == 1000
  assert merged.result().mean.shape == (2, 3)
  np.testing.assert_allclose(merged.result().mean, whole.result().mean, rtol=1e-12)
  np.testing.assert_allclose(merged.covariance(), whole.covariance(), rtol=1e-9)
  flat = x.reshape(1000, 6).astype(float)
  np.testing.assert_allclose(whole.covariance(), np.cov(flat.T, bias=True), atol=1e-12)


def test_sums_that_do_not_fit_are_not_merged():
  running = store.RunningStatistics((2,))
  with pytest.raises(ValueError, match='Cannot merge'):
    running.merge(store.RunningStatistics((3,)))
  with pytest.raises(ValueError, match='Cannot merge'):
    running.merge(store.RunningStatistics((2,), covariance=True))
  with pytest.raises(ValueError, match='before the rows are added'):
    running.covariance()


def test_a_covariance_that_was_not_gathered_is_an_error_and_a_damaged_one_too(
  tmp_path, sound, helpers
):
  with pytest.raises(store.StoreError, match='write it with covariance=True'):
    sound.covariance()
  reader = helpers.write(tmp_path / 'd', covariance=True)
  helpers.flip(reader.path, 'covariance/resid_post.1.npy', 200)
  with pytest.raises(store.DamagedError, match=r'covariance/resid_post\.1\.npy'):
    reader.covariance()
  with pytest.raises(store.DamagedError, match=r'covariance/resid_post\.1\.npy'):
    reader.verify()
