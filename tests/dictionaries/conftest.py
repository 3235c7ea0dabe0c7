import pytest

from interp_jax.dictionaries import Dictionary, TopK
from tests.dictionaries.planted import Planted, plant, random_dictionary


@pytest.fixture(scope='session')
def planted() -> Planted:
  return plant(6000)


@pytest.fixture(scope='session')
def dictionary() -> Dictionary:
  """Random parameters, none of them zero."""
  return random_dictionary(TopK(4))
