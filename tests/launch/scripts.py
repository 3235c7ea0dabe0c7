"""Launch scripts and configurations as modules."""

import contextlib
import importlib.util
import pathlib
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

# Its flags are those of all scripts, and real.
from interp_jax.training import job  # noqa: F401

ROOT = pathlib.Path(__file__).resolve().parents[2]
_KINDS = ('string', 'integer', 'float', 'bool', 'boolean', 'list')


def write_python(folder: pathlib.Path, functions: int) -> pathlib.Path:
  """Twelve files of Python, of so many functions and up to eleven more."""
  for i in range(12):
    count = functions + i
    lines = (f'def f{i}_{n}(value):\n  return value + {n}\n' for n in range(count))
    (folder / f'{i:02}.py').write_text('\n'.join(lines))
  return folder


def load_file(path: pathlib.Path, name: str) -> ModuleType:
  spec = importlib.util.spec_from_file_location(name, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def load_script(name: str) -> ModuleType:
  """A script of `launch/`, its flags at their defaults.

  Flags are global to a process, and the scripts have the same names for theirs.
  """

  def define(name: str, default: Any, *_: Any, **__: Any) -> SimpleNamespace:
    return SimpleNamespace(value=default)

  with contextlib.ExitStack() as stack:
    for kind in _KINDS:
      stack.enter_context(mock.patch(f'absl.flags.DEFINE_{kind}', define))
    stack.enter_context(mock.patch('absl.flags.mark_flag_as_required'))
    stack.enter_context(mock.patch('ml_collections.config_flags.DEFINE_config_file'))
    return load_file(ROOT / 'launch' / f'{name}.py', f'{name}_under_test')


def config_of(name: str, arg: str = 'quick') -> Any:
  """A configuration, by its path in `configs/`."""
  path = ROOT / 'configs' / f'{name}.py'
  return load_file(path, f'config_{name.replace("/", "_")}').get_config(arg)
