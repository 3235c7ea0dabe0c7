"""What every test runs under: eight simulated devices, and checked annotations."""

from importlib import metadata
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
# Models of tests are tiny: their programs take long to compile and no time to run. So
# they are compiled to run slowly, each as one piece, in a fifth of the time; where the
# program itself is tested, the fixture `optimized` gives it as users have it.
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
os.environ.setdefault('XLA_FLAGS', '')
os.environ['XLA_FLAGS'] += ' --xla_cpu_parallel_codegen_split_count=1'
if metadata.version('jaxlib').startswith('0.10.'):  # Later ones know no such flag.
  os.environ['XLA_FLAGS'] += ' --xla_cpu_use_fusion_emitters=false'
# Figures are drawn without a screen.
os.environ['MPLBACKEND'] = 'agg'

import jaxtyping
import pytest

# Every annotation of a shape is checked at every call.
jaxtyping.install_import_hook('interp_jax', 'beartype.beartype')

# A process may have 65,530 memory maps on Linux, and every compiled program takes some:
# past that, the compiler crashes.
MAPS = 30_000


@pytest.fixture(scope='module')
def optimized():
  """Programs as users have them, for tests of the programs themselves."""
  import jax

  before = jax.config.read('jax_disable_most_optimizations')
  jax.config.update('jax_disable_most_optimizations', False)
  yield
  jax.config.update('jax_disable_most_optimizations', before)


@pytest.fixture
def float64():
  """64-bit numbers, which jax otherwise rounds to 32."""
  import jax

  with jax.enable_x64(True):
    yield


@pytest.fixture(scope='module')
def double():
  """The same for all tests of a file."""
  import jax

  with jax.enable_x64(True):
    yield


@pytest.fixture
def unchecked_types():
  """Annotations unchecked, as for users: the package's own messages answer."""
  jaxtyping.config.update('jaxtyping_disable', True)
  yield
  jaxtyping.config.update('jaxtyping_disable', False)


@pytest.fixture(autouse=True, scope='module')
def few_programs():
  """Forgets compiled programs between the files of tests, when there are many."""
  yield
  maps = pathlib.Path('/proc/self/maps')
  if maps.exists() and maps.read_bytes().count(b'\n') > MAPS:
    import jax

    jax.clear_caches()
