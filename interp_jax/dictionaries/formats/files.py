"""Finding the files of dictionaries, and writing tensors."""

from collections.abc import Mapping
import pathlib
import re
from typing import Any

import numpy as np


def natural(path: pathlib.Path) -> list[Any]:
  """A key that sorts `layer_10` after `layer_9`."""
  parts = re.split(r'(\d+)', str(path))
  return [int(part) if part.isdecimal() else part for part in parts]


def folders_with(path: pathlib.Path, *names: str) -> list[pathlib.Path]:
  """The folders at a path, or in it, that hold all the files.

  Args:
    path: A folder, or one of the files in it.
    *names: The files' names, or patterns of them.

  Returns:
    The folder itself if it holds them, else those inside, at any depth.
  """
  holds = lambda folder: all(next(folder.glob(name), None) for name in names)
  if path.is_file():
    fits = any(path.match(name) for name in names) and holds(path.parent)
    return [path.parent] if fits else []
  if not path.is_dir():
    return []
  if holds(path):
    return [path]
  folders = {file.parent for file in path.rglob(names[0])}
  return sorted(filter(holds, folders), key=natural)


def files_like(path: pathlib.Path, *patterns: str) -> list[pathlib.Path]:
  """The file at a path, or the files in a folder at any depth, of some names."""
  if path.is_file():
    return [path] if any(path.match(pattern) for pattern in patterns) else []
  found = {file for pattern in patterns for file in path.rglob(pattern)}
  return sorted(filter(pathlib.Path.is_file, found), key=natural)


def metadata_of(
  name: str, foreign: Mapping[str, Any], model: Any = None, context: Any = None
) -> dict[str, Any]:
  """The metadata of a dictionary in another format.

  Args:
    name: The format.
    foreign: Its config as it stands in the file.
    model: The name of the model that it was trained on.
    context: The length of the contexts that it was trained on.
  """
  known = {'format': name, 'model': model, 'context': context}
  known = {key: value for key, value in known.items() if value is not None}
  return known | {'foreign': dict(foreign)}


def write_tensors(file: pathlib.Path, tensors: Mapping[str, np.ndarray]) -> None:
  """Writes a safetensors file whole: a file that is there is never half of one."""
  from safetensors.numpy import save_file

  partial = file.with_name(f'{file.name}.partial')
  save_file({n: np.ascontiguousarray(t) for n, t in tensors.items()}, partial)
  partial.replace(file)


def match(pattern: str, path: pathlib.Path | str) -> str | None:
  """The first group of a pattern in a path, the last time that it occurs."""
  found = re.findall(pattern, str(path))
  return found[-1] if found else None


def layer_in(path: pathlib.Path | str, pattern: str = r'layer_?(\d+)') -> int | None:
  """The layer that a path names."""
  found = match(pattern, path)
  return None if found is None else int(found)
