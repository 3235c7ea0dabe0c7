"""What the tests of compat share."""

import jax
import jaxtyping
import pytest


@pytest.fixture(autouse=True)
def quick_compile():
  """Programs compile in half the time and run slower: good for tiny models."""
  before = jax.config.read('jax_disable_most_optimizations')
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', before)


@pytest.fixture
def unchecked_types():
  """Annotations unchecked, as for users: the package's own messages answer."""
  jaxtyping.config.update('jaxtyping_disable', True)
  yield
  jaxtyping.config.update('jaxtyping_disable', False)
