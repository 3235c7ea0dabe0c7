"""The direction of imports, and that importing anything does nothing else."""

import ast
from collections.abc import Iterator
import importlib.metadata
import pathlib
import pkgutil
import re
import subprocess
import sys

import pytest

import interp_jax

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / 'interp_jax'

# room -> the rooms that it may import. Every room may import `core`, except `report`,
# which draws plain arrays and knows of nothing. A room that is not here is an error.
MAY_IMPORT = {
  'core': set(),
  'edits': {'core'},
  'sharding': {'core'},
  'models': {'core', 'edits'},
  'store': {'core'},
  'training': {'core', 'sharding'},
  'harvest': {'core', 'models', 'store', 'sharding'},
  'dictionaries': {'core', 'edits', 'training', 'store', 'sharding'},
  'circuits': {'core', 'edits'},
  'lenses': {'core', 'edits', 'training', 'sharding'},
  'compat': {'core', 'edits', 'models', 'lenses', 'circuits'},
  'probes': {'core', 'training'},
  'tasks': {'core', 'models'},
  'report': set(),
  'programs': {
    'core',
    'models',
    'training',
    'harvest',
    'dictionaries',
    'circuits',
    'sharding',
  },
}
# These two stand on everything above them.
MAY_IMPORT['findings'] = set(MAY_IMPORT)
MAY_IMPORT['testing'] = set(MAY_IMPORT)

# What stands on top of the package, or beside it; nothing in it imports these.
ON_TOP = {'configs', 'launch', 'benchmarks', 'notebooks', 'tests'}

# What must run after `pip install interp_jax` without extras.
INSTALLED_FOR = ('interp_jax', 'launch', 'configs')

# What an extra installs and functions import when they are called.
OPTIONAL = {
  'huggingface_hub',
  'tensorboardX',
  'torch',
  'transformer_lens',
  'transformers',
  'wandb',
}

# Third-party packages that a room must do without, so that it stays what it is.
ARRAY_LIBRARIES = {'jax', 'jaxlib', 'flax', 'optax', 'orbax', 'chex', 'tensorstore'}
FORBIDDEN = {'core': {'flax', 'optax', 'orbax', 'chex'}, 'report': ARRAY_LIBRARIES}

# Slow to import, and not needed before somebody asks for a model, a store or a picture.
HEAVY = ('jax', 'flax', 'optax', 'orbax', 'tensorstore', 'grain', 'matplotlib')

ROOMS = sorted(path.parent.name for path in PACKAGE.glob('*/__init__.py'))


def modules(folder: pathlib.Path) -> list[pathlib.Path]:
  return sorted(folder.rglob('*.py'))


def imported(path: pathlib.Path) -> Iterator[str]:
  """Full names of what a file imports, anywhere in it, relative imports resolved."""
  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      package = path.relative_to(ROOT).parent.parts
      kept = package[: len(package) - node.level + 1] if node.level else ()
      base = '.'.join([*kept, *filter(None, [node.module])])
      # `from interp_jax import models` imports a room, too.
      yield from (f'{base}.{alias.name}' for alias in node.names)


def rooms_imported(path: pathlib.Path) -> set[str]:
  names = (name.split('.') for name in imported(path))
  return {
    name[1] for name in names if name[0] == 'interp_jax' and name[1] in MAY_IMPORT
  }


def third_party(folder: pathlib.Path) -> set[str]:
  """Top-level names that are neither of the standard library nor ours."""
  names = {name.split('.')[0] for path in modules(folder) for name in imported(path)}
  return names - set(sys.stdlib_module_names) - {'interp_jax', *ON_TOP}


def normalised(distribution: str) -> str:
  """A distribution's name as pip compares names."""
  return re.sub(r'[-_.]+', '-', distribution).lower()


def required() -> set[str]:
  """The distributions in requirements.txt."""
  lines = (ROOT / 'requirements.txt').read_text(encoding='utf-8').splitlines()
  names = (re.match(r'[\w.-]+', line) for line in lines)
  return {normalised(name[0]) for name in names if name}


def python(code: str) -> str:
  """Runs code in a fresh Python where every warning is an error; gives its output."""
  done = subprocess.run(
    [sys.executable, '-W', 'error', '-c', code],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  assert not done.stderr, done.stderr
  return done.stdout.strip()


@pytest.mark.parametrize('room', ROOMS)
def test_a_room_imports_only_the_rooms_below_it(room):
  assert room in MAY_IMPORT, f'{room} is not in the table of rooms; add it there.'
  for path in modules(PACKAGE / room):
    wrong = rooms_imported(path) - MAY_IMPORT[room] - {room}
    assert not wrong, f'{path.relative_to(ROOT)} must not import {sorted(wrong)}'


def test_the_package_imports_nothing_that_stands_on_top_of_it():
  for path in modules(PACKAGE):
    tops = {name.split('.')[0] for name in imported(path)}
    assert not tops & ON_TOP, f'{path.relative_to(ROOT)}: {sorted(tops & ON_TOP)}'


def test_the_table_of_rooms_has_no_cycle():
  done: set[str] = set()
  while ready := {r for r, below in MAY_IMPORT.items() if below <= done} - done:
    done |= ready
  assert done == set(MAY_IMPORT)


@pytest.mark.parametrize('room', sorted(FORBIDDEN))
def test_a_plain_room_does_without_the_heavy_libraries(room):
  used = third_party(PACKAGE / room)
  assert not used & FORBIDDEN[room]


def test_everything_imported_is_required_and_everything_required_is_imported():
  providers = importlib.metadata.packages_distributions()
  used = set().union(*(third_party(ROOT / top) for top in INSTALLED_FOR)) - OPTIONAL
  provided = {
    name: {normalised(dist) for dist in providers.get(name, [name])} for name in used
  }
  missing = {name for name, dists in provided.items() if not dists & required()}
  assert not missing, f'not in requirements.txt: {sorted(missing)}'
  unused = required() - set().union(*provided.values())
  assert not unused, f'in requirements.txt, and nothing imports it: {sorted(unused)}'


def test_importing_the_package_imports_nothing_heavy():
  loaded = python(f"""
import sys
import interp_jax
assert interp_jax.__version__
dir(interp_jax)
print([name for name in {HEAVY} if name in sys.modules])
""")
  assert loaded == '[]'


@pytest.mark.parametrize('room', ROOMS)
def test_importing_a_room_warns_of_nothing_and_starts_no_backend(room):
  names = [
    module.name
    for module in pkgutil.walk_packages(
      [str(PACKAGE / room)], prefix=f'interp_jax.{room}.'
    )
  ]
  # jax refuses the last line once a backend has started.
  python(f"""
import importlib
for name in {[f'interp_jax.{room}', *names]}:
  importlib.import_module(name)
import jax
jax.config.update('jax_num_cpu_devices', 3)
""")


@pytest.mark.parametrize('room', ROOMS)
def test_a_room_is_an_attribute_and_every_name_it_lists_exists(room):
  assert room in dir(interp_jax)
  module = getattr(interp_jax, room)
  assert module.__name__ == f'interp_jax.{room}'
  assert len(set(module.__all__)) == len(module.__all__)
  for name in module.__all__:
    assert hasattr(module, name), f'{room}.{name}'


def test_a_wrong_attribute_says_what_there_is():
  with pytest.raises(AttributeError, match=r"no attribute 'modles'.*models"):
    interp_jax.modles  # noqa: B018
