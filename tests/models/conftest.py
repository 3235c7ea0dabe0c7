"""What the tests of models share."""

import jax
import pytest


@pytest.fixture
def quick_compile():
  """Programs compiled in half the time and run slower, which tiny models do not mind."""
  before = jax.config.read('jax_disable_most_optimizations')
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', before)


@pytest.fixture
def float64():
  """64-bit numbers, which jax otherwise rounds to 32."""
  with jax.enable_x64(True):
    yield
