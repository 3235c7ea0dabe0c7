"""Where a dataset is: whole files of a folder, or of a prefix of object storage.

Everything but the chunks of the arrays goes through `Folder`, and the chunks through
TensorStore on the same key-value store, so a dataset in a bucket is written and read
by the code that writes and reads one on a disk.
"""

from collections.abc import Generator, Iterable, Iterator
import contextlib
import json
import os
import pathlib
from typing import Any

import tensorstore as ts

from interp_jax.store.errors import StoreError

SCHEMES = ('s3://', 'gs://', 'file://')
_LOCK_SUFFIX = '.__lock'
# Enough for the indices of the shards in use. Chunks are read once per epoch, so
# caching more of them only costs memory.
_CACHE_BYTES = 16 * 2**20
# Reads and writes of files at once. Chunks in random order need more than TensorStore's
# four for the disk to be busy.
_FILES_AT_ONCE = 16
# Half a minute, where TensorStore's own 32 attempts take a quarter of an hour: a job
# that stops and says why can be continued.
RETRIES = {'max_retries': 8, 'initial_delay': '250ms', 'max_delay': '8s'}


class Folder:
  """Whole files by their relative names.

  Every write appears at once or not at all, in a folder by renaming a temporary file,
  so that another process sees a file as it was or as it is, whenever this one dies.

  Attributes:
    path: The folder, absolute; for object storage its URL without a slash at the end.
    spec: TensorStore's spec of the key-value store.
    context: TensorStore's context for it.
  """

  def __init__(self, path: str | os.PathLike):
    """Names the place; nothing is made or read yet.

    Args:
      path: A folder, or `'file:///...'`, `'s3://bucket/prefix'`,
        `'gs://bucket/prefix'`. An S3 server other than Amazon's is named, as for other
        programs, by the environment variable `AWS_ENDPOINT_URL`; credentials and the
        region are found as the AWS and Google libraries do.

    Raises:
      StoreError: if the path is a URL of another kind.
    """
    self.path, self.spec = _locate(path)
    self.context = ts.Context(
      {
        'cache_pool': {'total_bytes_limit': _CACHE_BYTES},
        'file_io_concurrency': {'limit': _FILES_AT_ONCE},
        's3_request_retries': RETRIES,
        'gcs_request_retries': RETRIES,
      }
    )
    with explained(f'open {self.path}'):
      self._files = ts.KvStore.open(self.spec, context=self.context).result()

  def where(self, name: str) -> str:
    """The full path or URL of a file, for messages."""
    return f'{self.path}/{name}'

  def make(self) -> None:
    """Makes the folder; object storage has none to make.

    Raises:
      StoreError: if it cannot be made.
    """
    if isinstance(self.path, pathlib.Path):
      try:
        self.path.mkdir(parents=True, exist_ok=True)
      except OSError as error:
        raise StoreError(f'Cannot make the folder {self.path}: {error}') from error

  def read(self, name: str) -> bytes | None:
    """The content of a file, None if there is no such file.

    Raises:
      StoreError: if it cannot be read.
    """
    return next(self.read_many([name]))

  def read_many(self, names: Iterable[str], at_once: int = 1) -> Iterator[bytes | None]:
    """The contents of files, so many of them requested at once.

    Raises:
      StoreError: if one cannot be read.
    """
    names = list(names)
    for start in range(0, len(names), at_once):
      part = names[start : start + at_once]
      reads = [self._files.read(name) for name in part]
      for name, read in zip(part, reads, strict=True):
        with explained(f'read {self.where(name)}'):
          found = read.result()
        yield found.value if found.state == 'value' else None

  def write(self, name: str, data: bytes) -> None:
    """Writes a file.

    Raises:
      StoreError: if it cannot be written.
    """
    with explained(f'write {self.where(name)}'):
      self._files.write(name, data).result()

  def write_json(self, name: str, content: Any) -> None:
    """Writes a JSON file, the same bytes for the same content.

    Raises:
      StoreError: if it cannot be written.
    """
    self.write(name, encode_json(content))

  def delete(self, names: Iterable[str]) -> None:
    """Deletes files, if they are there.

    Raises:
      StoreError: if one cannot be deleted.
    """
    with explained(f'delete files of {self.path}'):
      for delete in [self._files.write(name, None) for name in names]:
        delete.result()

  def names(self, prefix: str = '') -> list[str]:
    """The names of all files that begin so, without what interrupted writes left.

    Raises:
      StoreError: if they cannot be listed.
    """
    # The keys from the prefix to its last possible continuation.
    keys = ts.KvStore.KeyRange(prefix, f'{prefix}\x7f')
    with explained(f'list {self.path}'):
      found = [key.decode() for key in self._files.list(keys).result()]
    return sorted(name for name in found if not name.endswith(_LOCK_SUFFIX))

  def clean(self) -> None:
    """Deletes what interrupted writes left behind, and folders without files."""
    if not isinstance(self.path, pathlib.Path):
      return
    for leftover in self.path.rglob(f'*{_LOCK_SUFFIX}'):
      leftover.unlink(missing_ok=True)
    folders = (path for path in self.path.rglob('*') if path.is_dir())
    for folder in sorted(folders, reverse=True):
      with contextlib.suppress(OSError):
        folder.rmdir()


def encode_json(content: Any) -> bytes:
  """The bytes of a JSON file: one way to write each content."""
  data = json.dumps(content, indent=1, sort_keys=True, allow_nan=False)
  return data.encode() + b'\n'


@contextlib.contextmanager
def explained(action: str) -> Generator[None, None, None]:
  """Turns TensorStore's errors, which have no class of their own, into `StoreError`s.

  Args:
    action: What was tried, after 'Cannot'.
  """
  try:
    yield
  except StoreError:
    raise
  except (ValueError, OSError, RuntimeError) as error:
    raise StoreError(f'Cannot {action}: {error}') from error


def _locate(path: str | os.PathLike) -> tuple[pathlib.Path | str, dict[str, Any]]:
  """The path or URL in one form, and TensorStore's spec of it."""
  text = os.fspath(path)
  if '://' not in text:
    return _local(pathlib.Path(text).absolute())
  if not text.startswith(SCHEMES):
    raise StoreError(f'Cannot open {text}: a URL begins with {", ".join(SCHEMES)}.')
  url = text.rstrip('/')
  with explained(f'open {text}'):
    spec = ts.KvStore.Spec(f'{url}/').to_json()
  if spec['driver'] == 'file':
    return _local(pathlib.Path(spec['path']))
  return url, spec | (_s3_settings() if spec['driver'] == 's3' else {})


def _local(path: pathlib.Path) -> tuple[pathlib.Path, dict[str, Any]]:
  return path, {'driver': 'file', 'path': f'{path}/'}


def _s3_settings() -> dict[str, Any]:
  """What the environment says of S3 and TensorStore does not ask it for."""
  settings: dict[str, Any] = {}
  for key, variables in {
    'endpoint': ('AWS_ENDPOINT_URL_S3', 'AWS_ENDPOINT_URL'),
    'aws_region': ('AWS_REGION', 'AWS_DEFAULT_REGION'),
  }.items():
    found = [os.environ[v] for v in variables if os.environ.get(v)]
    if found:
      settings[key] = found[0]
  if os.environ.get('AWS_ACCESS_KEY_ID'):
    settings['aws_credentials'] = {'type': 'environment'}
  return settings
