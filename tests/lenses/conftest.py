"""What the tests of lenses share."""

import jax
import pytest


@pytest.fixture(scope='module')
def quick_compile():
  """Programs compile in half the time and run slower: good for tiny models."""
  before = jax.config.read('jax_disable_most_optimizations')
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', before)


@pytest.fixture(scope='module')
def float64(quick_compile):
  """64-bit numbers, which jax otherwise rounds to 32."""
  with jax.enable_x64(True):
    yield
