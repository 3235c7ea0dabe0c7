import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.dictionaries import (
  Dictionary,
  DictionaryConfig,
  ReLU,
  density_histogram,
  evaluate,
  log10_density,
)


def scores(active, rows):
  """Of a dictionary whose feature f is active in `active[f]` of the rows."""
  x = (np.arange(rows)[:, None] < np.array(active)).astype(np.float32)
  width = len(active)
  params = {'W_enc': jnp.eye(width), 'b_enc': jnp.zeros(width), 'W_dec': jnp.eye(width)}
  params['b_dec'] = jnp.zeros(width)
  return evaluate(Dictionary(params, DictionaryConfig(width, width, ReLU())), [x])


def test_each_feature_is_in_one_bin_or_dead_or_below():
  found = scores([0, 0, 1, 5, 50, 100], rows=100)
  got = density_histogram(found, edges=[-1.5, -1.0, -0.2, 0.0])
  np.testing.assert_array_equal(got.counts, [1, 1, 1])
  assert (got.dead, got.below, got.dense, got.rows) == (2, 1, 2, 100)
  assert got.counts.sum() + got.dead + got.below == 6


def test_by_default_every_live_feature_has_a_bin():
  found = scores([0, 1, 10, 999, 1000], rows=1000)
  got = density_histogram(found)
  assert got.below == 0
  assert got.counts.sum() == 4
  assert got.counts[-1] == 2
  assert got.to_dict()['counts'] == got.counts.tolist()


def test_edges_that_would_lose_features_are_refused():
  found = scores([1, 2], rows=10)
  for edges in ([-1.0], [-1.0, -2.0, 0.0], [-3.0, -1.0]):
    with pytest.raises(ValueError, match='rising log10 densities'):
      density_histogram(found, edges)


def test_the_logarithm_of_a_dead_feature_is_finite():
  np.testing.assert_allclose(log10_density(np.array([0, 0.1])), [-10, -1], atol=1e-8)
