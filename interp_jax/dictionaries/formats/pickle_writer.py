"""State dicts as torch saves them, written without torch.

The program that `pickles` reads, instruction by instruction, and the archive round it.
"""

from collections.abc import Mapping
import pathlib
import struct
from typing import Any
import zipfile

import numpy as np

from interp_jax.dictionaries.formats.pickles import STORAGES

_NAMES = {dtype: name for name, dtype in STORAGES.items()}
_MEMBERS = 'archive'


def write_pickle(file: pathlib.Path, value: Mapping[str, Any]) -> None:
  """Writes a state dict for `torch.load`.

  Args:
    file: The file; replaced if it is there.
    value: Name → array, text, number, None, or dict of such.

  Raises:
    ValueError: if a part is something else.
  """
  arrays: list[np.ndarray] = []
  program = b'\x80\x02' + _encode(value, arrays) + b'.'
  partial = file.with_name(f'{file.name}.partial')
  with zipfile.ZipFile(partial, 'w', zipfile.ZIP_STORED) as archive:
    archive.writestr(f'{_MEMBERS}/data.pkl', program)
    archive.writestr(f'{_MEMBERS}/byteorder', 'little')
    for index, array in enumerate(arrays):
      archive.writestr(f'{_MEMBERS}/data/{index}', array.tobytes())
    archive.writestr(f'{_MEMBERS}/version', '3\n')
  partial.replace(file)


def _encode(value: Any, arrays: list[np.ndarray]) -> bytes:
  """The instructions that push a value; the arrays in it are collected."""
  if value is None:
    return b'N'
  if isinstance(value, bool):
    return b'\x88' if value else b'\x89'
  if isinstance(value, int):
    return _integer(value)
  if isinstance(value, float):
    return b'G' + struct.pack('>d', value)
  if isinstance(value, str):
    text = value.encode()
    return b'X' + struct.pack('<I', len(text)) + text
  if isinstance(value, tuple):
    return b'(' + b''.join(_encode(item, arrays) for item in value) + b't'
  if isinstance(value, Mapping):
    items = (_encode(k, arrays) + _encode(v, arrays) for k, v in value.items())
    return b'}(' + b''.join(items) + b'u'
  if hasattr(value, '__array__'):
    return _tensor(np.asarray(value), arrays)
  raise ValueError(f'A {type(value).__name__} has no place in a state dict.')


def _integer(value: int) -> bytes:
  if -(2**31) <= value < 2**31:
    return b'J' + struct.pack('<i', value)
  raw = value.to_bytes(value.bit_length() // 8 + 1, 'little', signed=True)
  return b'\x8a' + bytes([len(raw)]) + raw


def _tensor(array: np.ndarray, arrays: list[np.ndarray]) -> bytes:
  if array.dtype not in _NAMES:
    raise ValueError(f'An array of dtype {array.dtype} has no place in a state dict.')
  key = str(len(arrays))
  arrays.append(np.ascontiguousarray(array))
  strides = tuple(step // array.itemsize for step in arrays[-1].strides)
  storage = b'(' + _encode('storage', arrays)
  storage += b'ctorch\n' + _NAMES[array.dtype].encode() + b'\n'
  storage += _encode(key, arrays) + _encode('cpu', arrays) + _integer(array.size)
  return (
    b'ctorch._utils\n_rebuild_tensor_v2\n('
    + (storage + b'tQ')
    + _integer(0)
    + _encode(tuple(array.shape), arrays)
    + _encode(strides if array.ndim else (), arrays)
    + b'\x89ccollections\nOrderedDict\n)RtR'
  )
