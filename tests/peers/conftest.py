"""What the tests against other libraries share."""

import pytest

from interp_jax.testing.peer import hush


@pytest.fixture(autouse=True, scope='session')
def quiet_transformers():
  pytest.importorskip('transformers')
  hush()
