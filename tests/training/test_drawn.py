"""Many small models on data that the step draws."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from interp_jax import training

TARGET = jnp.array([1.0, -2.0, 0.5])


def loss_fn(params, key):
  x = jax.random.normal(key, (16, 3))
  error = x @ (params['w'] - TARGET)
  return (error**2).mean(), {'largest': jnp.abs(error).max()}


def start(worlds):
  return {'w': jnp.arange(3.0 * worlds).reshape(worlds, 3)}


def adam():
  return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1))


def run(state, step, calls, per_call):
  numbers = training.Updates(per_call)
  for _ in range(calls):
    state, metrics = jax.jit(step)(state, next(numbers))
  return state, metrics


def test_worlds_are_runs_of_their_own():
  params = start(3)
  step = training.make_drawn_step(loss_fn, adam(), 0, worlds=3, shared_data=True)
  together, metrics = run(training.worlds_state(params, adam()), step, 4, 5)
  assert metrics['loss'].shape == (3,)
  for world in range(3):
    own = training.create_state({'w': params['w'][world]}, adam())
    alone, one = run(own, training.make_drawn_step(loss_fn, adam(), 0), 4, 5)
    np.testing.assert_allclose(together.params['w'][world], alone.params['w'], 1e-5)
    np.testing.assert_allclose(metrics['largest'][world], one['largest'], 1e-5)


def test_without_shared_data_equal_worlds_see_different_data():
  params = {'w': jnp.zeros((2, 3))}
  step = training.make_drawn_step(loss_fn, adam(), 0, worlds=2)
  _, metrics = run(training.worlds_state(params, adam()), step, 1, 1)
  assert metrics['loss'][0] != metrics['loss'][1]


def test_how_many_updates_are_one_call_changes_nothing():
  step = training.make_drawn_step(loss_fn, adam(), 3, worlds=2)
  few, _ = run(training.worlds_state(start(2), adam()), step, 6, 2)
  many, _ = run(training.worlds_state(start(2), adam()), step, 2, 6)
  np.testing.assert_allclose(few.params['w'], many.params['w'], 1e-6)


def test_it_learns():
  step = training.make_drawn_step(loss_fn, adam(), 0, worlds=2)
  state, _ = run(training.worlds_state(start(2), adam()), step, 10, 50)
  np.testing.assert_allclose(state.params['w'], jnp.stack([TARGET] * 2), atol=0.02)


def test_the_numbers_go_on_where_they_were_left():
  numbers = training.Updates(4)
  next(numbers)
  saved = numbers.get_state()
  expected = next(numbers)
  other = training.Updates(4)
  other.set_state(saved)
  np.testing.assert_array_equal(next(other), expected)
  np.testing.assert_array_equal(expected, [4, 5, 6, 7])


def test_a_call_without_updates_is_refused():
  with pytest.raises(ValueError, match='at least one update'):
    training.Updates(0)
