"""What the tests against other libraries share."""

import pytest

from interp_jax.testing.peer import hush
from tests.models.conftest import float64, quick_compile

__all__ = ['float64', 'quick_compile']


@pytest.fixture(autouse=True, scope='session')
def quiet_transformers():
  pytest.importorskip('transformers')
  hush()
