"""Edits on disk, so that a sweep can be written down and replayed.

One safetensors file: arrays are its tensors, the structure is JSON in its header.
Nothing is pickled: a callable inside a `Splice` must be a dataclass registered by
`register_callable`.
"""

import dataclasses
import json
import os
from typing import Any

import jax
import numpy as np

from interp_jax.core import unknown
from interp_jax.edits import ops
from interp_jax.edits.tree import Edits, as_tuples

FORMAT = 'interp_jax.edits/1'

_CLASSES: dict[str, type] = {
  cls.__name__: cls
  for cls in (
    ops.Replace,
    ops.Add,
    ops.Scale,
    ops.Interpolate,
    ops.ProjectOut,
    ops.Clamp,
    ops.Splice,
  )
}


def register_callable(cls: type) -> type:
  """Lets a dataclass be written inside an edit; use it as a decorator.

  Args:
    cls: A dataclass that is a pytree; its fields are arrays, numbers, strings, None,
      or such dataclasses, or lists, tuples and dicts of these.

  Returns:
    The class itself.

  Raises:
    TypeError: if it is not a dataclass.
    ValueError: if another class has its name.
  """
  if not dataclasses.is_dataclass(cls):
    raise TypeError(f'register_callable: {cls.__name__} is not a dataclass.')
  if cls.__name__ in _CLASSES and not _is_registered(cls):
    raise ValueError(f'register_callable: the name {cls.__name__!r} is taken.')
  _CLASSES[cls.__name__] = cls
  return cls


def _is_registered(cls: type) -> bool:
  """Whether this class, or an earlier run of its notebook cell, is registered."""
  known = _CLASSES.get(cls.__name__)
  return known is not None and _place(known) == _place(cls)


def _place(cls: type) -> tuple[str, str]:
  return cls.__module__, cls.__qualname__


def save(path: str | os.PathLike, edits: Edits) -> None:
  """Writes edits to a safetensors file.

  Args:
    path: The file to write.
    edits: Site → edit or edits; may be stacked over worlds.

  Raises:
    TypeError: if something in the edits cannot be written.
  """
  from safetensors.numpy import save_file

  tensors: dict[str, np.ndarray] = {}
  structure = {
    site: [_encode(edit, f'{site}/{i}', tensors) for i, edit in enumerate(sequence)]
    for site, sequence in as_tuples(edits).items()
  }
  header = {'format': FORMAT, 'structure': json.dumps(structure)}
  save_file(tensors, os.fspath(path), metadata=header)


def load(path: str | os.PathLike) -> dict[str, tuple[ops.Edit, ...]]:
  """Reads the edits that `save` wrote.

  Args:
    path: The file.

  Returns:
    Site → tuple of edits, arrays as numpy.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if the file is not edits, or names a class that is not registered.
  """
  header, tensors = _read(path)
  if header.get('format') != FORMAT:
    raise ValueError(
      f'{path}: format is {header.get("format")!r}, not {FORMAT!r}: not edits '
      'written by this version.'
    )
  structure = json.loads(header['structure'])
  return {
    site: tuple(_decode(edit, tensors) for edit in sequence)
    for site, sequence in structure.items()
  }


def _read(path: str | os.PathLike) -> tuple[dict[str, str], dict[str, np.ndarray]]:
  """The header's metadata and the tensors of a safetensors file."""
  from safetensors import SafetensorError, safe_open

  try:
    with safe_open(os.fspath(path), framework='numpy') as file:
      tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
      return file.metadata() or {}, tensors
  except SafetensorError as error:
    raise ValueError(f'{path} is not a safetensors file: {error}.') from error


def _encode(value: Any, name: str, tensors: dict[str, np.ndarray]) -> Any:
  if value is None or isinstance(value, bool | int | float | str):
    return value
  if isinstance(value, np.ndarray | np.generic | jax.Array):
    tensors[name] = np.asarray(value, order='C')
    return {'array': name}
  if isinstance(value, list | tuple):
    items = [_encode(v, f'{name}/{i}', tensors) for i, v in enumerate(value)]
    return {'tuple' if isinstance(value, tuple) else 'list': items}
  if isinstance(value, dict):
    return {'dict': {k: _encode(v, f'{name}/{k}', tensors) for k, v in value.items()}}
  if _is_registered(type(value)):
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    encoded = {k: _encode(v, f'{name}/{k}', tensors) for k, v in fields.items()}
    return {'class': type(value).__name__, 'fields': encoded}
  raise TypeError(
    f'{name}: a {type(value).__name__} cannot be written. Use arrays and numbers, or '
    'a dataclass registered by edits.register_callable.'
  )


def _decode(node: Any, tensors: dict[str, np.ndarray]) -> Any:
  if not isinstance(node, dict):
    return node
  if 'array' in node:
    return tensors[node['array']]
  if 'tuple' in node:
    return tuple(_decode(v, tensors) for v in node['tuple'])
  if 'list' in node:
    return [_decode(v, tensors) for v in node['list']]
  if 'dict' in node:
    return {k: _decode(v, tensors) for k, v in node['dict'].items()}
  if node['class'] not in _CLASSES:
    raise ValueError(unknown('class of edit', node['class'], _CLASSES))
  fields = {k: _decode(v, tensors) for k, v in node['fields'].items()}
  return _CLASSES[node['class']](**fields)
