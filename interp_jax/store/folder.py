"""The folder of a dataset as a key-value store: whole files, written atomically."""

import json
import os
import pathlib
from typing import Any

import tensorstore as ts

from interp_jax.store.errors import DamagedError, StoreError

_LOCK_SUFFIX = '.__lock'


class Folder:
  """Whole files of a folder by their relative names.

  Every write goes to a temporary file that is renamed when it is complete, so that
  another process sees a file as it was or as it is, whenever this one dies.
  """

  def __init__(self, path: str | os.PathLike):
    self.path = pathlib.Path(path).absolute()
    spec = {'driver': 'file', 'path': f'{self.path}/'}
    self._files = ts.KvStore.open(spec).result()

  @property
  def spec(self) -> dict[str, Any]:
    """TensorStore's spec of the key-value store."""
    return {'driver': 'file', 'path': f'{self.path}/'}

  def read_json(self, name: str) -> Any | None:
    """The content of a JSON file, None if there is no such file.

    Raises:
      DamagedError: if it is not JSON.
      StoreError: if it cannot be read.
    """
    try:
      found = self._files.read(name).result()
    except (ValueError, OSError) as error:
      raise StoreError(f'Cannot read {self.path / name}: {error}') from error
    if found.state != 'value':
      return None
    try:
      return json.loads(found.value)
    except ValueError as error:
      raise DamagedError(f'{self.path / name} is damaged: {error}') from error

  def write_json(self, name: str, content: Any) -> None:
    """Writes a JSON file, the same bytes for the same content.

    Raises:
      StoreError: if it cannot be written.
    """
    data = json.dumps(content, indent=1, sort_keys=True, allow_nan=False)
    try:
      self._files.write(name, data.encode() + b'\n').result()
    except (ValueError, OSError) as error:
      raise StoreError(f'Cannot write {self.path / name}: {error}') from error

  def delete(self, name: str) -> None:
    """Deletes one file, if it is there."""
    self._files.write(name, None).result()

  def names(self) -> list[str]:
    """The names of all files, without what an interrupted write left."""
    keys = (key.decode() for key in self._files.list().result())
    return sorted(key for key in keys if not key.endswith(_LOCK_SUFFIX))

  def clean(self) -> None:
    """Deletes what interrupted writes left behind."""
    for leftover in self.path.rglob(f'*{_LOCK_SUFFIX}'):
      leftover.unlink(missing_ok=True)
