import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.dictionaries import Dictionary, initial
from interp_jax.dictionaries import step as step_lib
from tests.dictionaries.planted import outputs_of, plant, small_config, small_trainer


@pytest.mark.parametrize(('normalize', 'shift'), [('raw', 0), ('centered', 1)])
def test_scaled_inputs_have_mean_squared_norm_equal_to_the_width(normalize, shift):
  rows = plant(500, offset=3.0).rows
  scale = initial.measure(rows, 'mean', normalize).inputs
  scaled = scale * (rows - shift * rows.mean(0))
  np.testing.assert_allclose((scaled**2).sum(1).mean(), rows.shape[1], rtol=1e-4)


def test_the_geometric_median_is_not_moved_by_a_far_row():
  rows = np.random.default_rng(0).normal(size=(401, 3))
  rows[0] = 1e6
  assert np.linalg.norm(initial.geometric_median(rows)) < 0.3
  assert np.linalg.norm(rows.mean(0)) > 1e3


def test_the_geometric_median_minimises_the_sum_of_distances():
  rows = np.random.default_rng(0).exponential(size=(50, 3))
  point = initial.geometric_median(rows)
  total = lambda p: np.linalg.norm(rows - p, axis=1).sum()
  for step in np.concatenate([np.eye(3), -np.eye(3)]) * 1e-2:
    assert total(point) < total(point + step)


def test_the_geometric_median_may_be_a_row():
  rows = np.array([[0.0, 0], [0, 0], [0, 0], [1, 0], [0, 1]])
  np.testing.assert_allclose(initial.geometric_median(rows), [0, 0], atol=1e-3)


def test_the_encoder_starts_as_the_transpose_of_a_unit_decoder():
  inputs = initial.measure(plant(500, offset=3.0).rows)
  params = initial.init_params(small_config(), inputs, 0)
  np.testing.assert_array_equal(params['W_enc'], params['W_dec'].T)
  np.testing.assert_allclose(jnp.linalg.norm(params['W_dec'], axis=1), 1, rtol=1e-5)
  np.testing.assert_allclose(params['b_dec'], inputs.outputs * inputs.center, rtol=1e-5)


def test_folding_the_scale_gives_the_same_output_and_keeps_unit_rows():
  planted = plant(500, offset=3.0)
  inputs = initial.measure(planted.rows)
  state = step_lib.init_state(small_config(), small_trainer(), inputs)
  config = small_config()
  scaled = Dictionary(state.params, config)
  folded = step_lib.export(config, state)
  x = jnp.asarray(planted.rows[:20])
  expected = outputs_of(scaled, x * inputs.inputs) / inputs.outputs
  np.testing.assert_allclose(outputs_of(folded, x), expected, rtol=1e-4, atol=1e-4)
  np.testing.assert_array_equal(folded.params['W_dec'], state.params['W_dec'])


def test_rows_that_cannot_be_normalised_are_refused():
  with pytest.raises(ValueError, match='variance 0'):
    initial.measure(np.ones((5, 3), np.float32))
  with pytest.raises(ValueError, match="Did you mean 'mean'"):
    initial.measure(plant(50).rows, 'men')
