"""The tiny models and the comparison do what tests rely on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import testing

TOKENS = np.arange(10).reshape(2, 5)


def test_no_parameter_of_a_random_model_is_trivial():
  _, params = testing.tiny_model(positions='rotary')
  for leaf in jax.tree.leaves(params):
    assert float(jnp.std(leaf)) > 0.05


def test_the_seed_decides_the_parameters():
  (_, one), (_, same), (_, other) = (testing.tiny_model(seed) for seed in (1, 1, 2))
  jax.tree.map(np.testing.assert_array_equal, one, same)
  assert not np.array_equal(one['embed']['W_E'], other['embed']['W_E'])


def test_equal_acts_pass_and_a_difference_names_its_site():
  model, params = testing.tiny_model()
  _, acts = model.apply({'params': params}, TOKENS)
  testing.assert_acts_close(acts, acts)
  wrong = acts | {'z': acts['z'].at[1, 0, 2].add(1e-2)}
  with pytest.raises(AssertionError, match='z'):
    testing.assert_acts_close(wrong, acts)
  with pytest.raises(AssertionError, match='pattern'):
    testing.assert_acts_close({k: v for k, v in acts.items() if k != 'pattern'}, acts)


def test_a_nan_and_an_infinity_are_told_from_zero_and_from_each_other():
  acts = {'z': np.array([0.0, -np.inf])}
  testing.assert_acts_close(acts, acts)
  for wrong in ([np.nan, -np.inf], [0.0, np.inf], [0.0, 0.0]):
    with pytest.raises(AssertionError):
      testing.assert_acts_close({'z': np.array(wrong)}, acts)
