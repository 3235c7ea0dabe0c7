"""What every test runs under: eight simulated devices, and checked annotations."""

import os
import pathlib
import sys

if 'jax' in sys.modules:
  raise RuntimeError('jax was imported before tests/conftest.py could set it up.')

# As `interp_jax.sharding.simulated_env(8)`, which cannot be imported before the hook.
# To run tests of a GPU as well: JAX_PLATFORMS=cpu,cuda.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ['JAX_NUM_CPU_DEVICES'] = '8'
os.environ['PJRT_NPROC'] = '16'
# Figures are drawn without a screen.
os.environ['MPLBACKEND'] = 'agg'

from jaxtyping import install_import_hook
import pytest

# Every annotation of a shape is checked at every call.
install_import_hook('interp_jax', 'beartype.beartype')

# A process may have 65,530 memory maps on Linux, and every compiled program takes some:
# past that, the compiler crashes.
MAPS = 30_000


@pytest.fixture(autouse=True, scope='module')
def few_programs():
  """Forgets compiled programs between the files of tests, when there are many."""
  yield
  maps = pathlib.Path('/proc/self/maps')
  if maps.exists() and maps.read_bytes().count(b'\n') > MAPS:
    import jax

    jax.clear_caches()
