"""One step, computed in different ways."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.dictionaries import (
  BatchTopK,
  Plan,
  codes,
  counted,
  init_state,
  initial,
  make_step,
)
from interp_jax.dictionaries.kernels import listed
from interp_jax.dictionaries.step import _share, running_least
from interp_jax.dictionaries.trainer import as_pair
from tests.dictionaries.architectures import ARCHITECTURES
from tests.dictionaries.runs import assert_close
from tests.slow import slow_but


def state_and_batch(architecture, settings):
  """A state in the middle of training: some features have been silent for long."""
  config = architecture.config
  inputs, targets = as_pair(architecture.rows())
  scale = initial.measure(inputs, targets=targets)
  state = init_state(config, settings, scale)
  silent = np.arange(config.features) % 3 == 1
  idle = np.broadcast_to(np.where(silent, 10_000, 0), config.code_shape)
  state = dataclasses.replace(
    state, idle=jnp.asarray(idle, jnp.int32), step=jnp.asarray(5, jnp.int32)
  )
  return state, jax.tree.map(jnp.asarray, next(architecture.batches()))


@functools.cache
def stepped(name, impl='dense', **changes):
  """State and metrics after a step; the plain one serves several tests."""
  architecture = ARCHITECTURES[name]
  settings = architecture.settings(**changes)
  state, batch = state_and_batch(architecture, settings)
  step = jax.jit(make_step(architecture.config, settings, Plan(impl)))
  return step(state, batch)


def moments(state):
  """Adam's, which are the gradient and its square but for a factor."""
  return [part for part in state.opt_state if hasattr(part, '__len__')]


@pytest.mark.parametrize('name', slow_but(ARCHITECTURES, 'batchtopk', 'jumprelu'))
def test_sparse_kernels_make_the_step_of_dense_ones(name):
  dense, logged = stepped(name)
  sparse, same = stepped(name, 'sparse')
  assert_close(logged, same, rtol=1e-4, atol=1e-6)
  assert_close(moments(dense), moments(sparse), rtol=1e-3, atol=1e-5)
  np.testing.assert_array_equal(dense.idle, sparse.idle)
  assert_close(dense.least, sparse.least, rtol=1e-5)


COUNTED = [
  name
  for name, one in ARCHITECTURES.items()
  if counted.counts_first(one.config, one.settings().objective, Plan('sparse'))
]


def test_steps_count_first_where_nothing_else_bounds_how_many_are_active():
  assert {'relu', 'gated', 'jumprelu'} <= set(COUNTED)
  # Its term counts features that are not active.
  assert 'p_anneal' not in COUNTED
  assert 'topk' not in COUNTED


@pytest.mark.parametrize('name', slow_but(COUNTED, 'jumprelu'))
def test_a_step_by_lists_is_that_on_all_features(name, monkeypatch):
  monkeypatch.setattr(listed, 'room_of', lambda features: features)
  dense, logged = stepped(name)
  by_list, same = stepped.__wrapped__(name, 'sparse')  # Not one of another room.
  assert_close(logged, same, rtol=1e-4, atol=1e-6)
  assert_close(moments(dense), moments(by_list), rtol=1e-3, atol=1e-5)
  np.testing.assert_array_equal(dense.idle, by_list.idle)


@pytest.mark.parametrize(
  'name', slow_but(['relu', 'gated', 'jumprelu', 'topk', 'p_anneal'], 'p_anneal')
)
def test_microbatches_make_the_step_of_the_whole_batch(name):
  whole, logged = stepped(name)
  parts, same = stepped(name, microbatches=4)
  for key in ('loss', 'mse', 'l0', 'dead_fraction'):
    np.testing.assert_allclose(logged[key], same[key], rtol=1e-4, err_msg=key)
  assert_close(moments(whole), moments(parts), rtol=1e-3, atol=1e-5)
  np.testing.assert_array_equal(whole.idle, parts.idle)
  assert_close(whole.terms, parts.terms, rtol=1e-4)
  dtypes = lambda state: jax.tree.map(lambda leaf: leaf.dtype, state)
  assert dtypes(whole) == dtypes(parts)


@pytest.mark.parametrize('name', slow_but(ARCHITECTURES, 'topk'))
def test_a_step_in_bfloat16_is_close_to_one_in_float32(name):
  wide, logged = stepped(name)
  narrow, rounded = stepped(name, compute_dtype='bfloat16')
  dtypes = lambda state: jax.tree.map(lambda leaf: leaf.dtype, state)
  assert dtypes(wide) == dtypes(narrow)
  np.testing.assert_allclose(rounded['loss'], logged['loss'], rtol=0.05)
  np.testing.assert_allclose(rounded['l0'], logged['l0'], rtol=0.1)
  assert rounded['loss'] != logged['loss']


def test_counts_in_bfloat16_are_exact_beyond_256():
  ones = jnp.ones((2, 301), jnp.bfloat16)
  np.testing.assert_array_equal(codes.per_example(ones, ones, 2), 301)


@pytest.mark.parametrize(
  ('share', 'steps', 'count'),
  [(0.29, 100, 29), (0.05, 12, 0), (1 / 3, 9, 3), (1.0, 7, 7)],
)
def test_shares_of_a_run_are_whole_steps(share, steps, count):
  assert _share(share, steps) == count


def test_the_running_threshold_starts_where_and_when_it_is_told():
  def run(**options):
    config = dataclasses.replace(
      ARCHITECTURES['batchtopk'].config, activation=BatchTopK(3, rate=0.5, **options)
    )
    least, seen = jnp.zeros(()), []
    for step, new in enumerate((4.0, jnp.inf, 2.0, 6.0)):
      least = running_least(config, least, jnp.asarray(new), step)
      seen.append(float(least))
    return seen

  assert run() == [4, 4, 3, 4.5]
  assert run(from_zero=True) == [2, 2, 2, 4]
  assert run(since=2) == [0, 0, 2, 4]
