"""What an unfinished dataset is going to be, and taking it up again."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from interp_jax.store.errors import FinishedError, StoreError
from interp_jax.store.folder import Folder
from interp_jax.store.manifest import (
  MANIFEST,
  PROGRESS,
  Manifest,
  read_manifest,
  read_signed,
  sign,
)
from interp_jax.store.records import record_file, recorded
from interp_jax.store.schema import Schema


@dataclasses.dataclass(frozen=True)
class Progress:
  """The content of `progress.json`: what was asked for when the dataset was begun.

  Attributes:
    schema: Arrays and sizes of the dataset.
    description: The manifest's.
    metadata: The manifest's, as JSON returns it.
    covariance: Whether covariances are gathered.
  """

  schema: Schema
  description: str
  metadata: Mapping[str, Any]
  covariance: bool = False

  def to_json(self) -> dict[str, Any]:
    """As plain data, with a checksum of the rest."""
    return sign(
      {
        **self.schema.to_json(),
        'description': self.description,
        'metadata': dict(self.metadata),
        'covariance': self.covariance,
      }
    )


def read_progress(folder: Folder) -> Progress | None:
  """Reads what was begun in a folder, None if nothing was.

  Raises:
    NotAStoreError, FormatVersionError, DamagedError, StoreError: as for a manifest.
  """
  content = read_signed(folder, PROGRESS)
  if content is None:
    return None
  return Progress(
    schema=Schema.from_json(content),
    description=content['description'],
    metadata=content['metadata'],
    covariance=content['covariance'],
  )


def begin_or_continue(folder: Folder, asked: Progress) -> None:
  """Begins a dataset, or takes up one that was begun, and records that it is there.

  Several processes may begin the same one at the same time.

  Raises:
    FinishedError: if the folder holds this very dataset, finished.
    StoreError: if it holds something else.
  """
  _raise_if_finished(folder, asked)
  progress = read_progress(folder)
  if progress is not None:
    _check_same(folder, progress, asked)
    return
  # Another process may just have begun it, or finished it.
  if folder.names() and read_progress(folder) is None:
    _raise_if_finished(folder, asked)
    raise StoreError(f'{folder.path} is not empty and holds no activation dataset.')
  folder.write_json(PROGRESS, asked.to_json())


def tidy(folder: Folder) -> None:
  """Deletes what only the writing of a dataset needed."""
  folder.delete([PROGRESS, *map(record_file, recorded(folder))])
  folder.clean()


def _raise_if_finished(folder: Folder, asked: Progress) -> None:
  if folder.read(MANIFEST) is None:
    return
  _check_same(folder, read_manifest(folder), asked)
  tidy(folder)
  raise FinishedError(
    f'{folder.path} holds this dataset, finished. Read it, or delete it to write it '
    'again.'
  )


def _check_same(folder: Folder, there: Progress | Manifest, asked: Progress) -> None:
  """Raises, listing what differs, unless this is the dataset that is asked for."""
  before, now = _settings(there), _settings(asked)
  keys = [k for k in {**before, **now} if before.get(k) != now.get(k)]
  if keys:
    lines = [f'  {k}: there {before.get(k)!r}, asked for {now.get(k)!r}' for k in keys]
    raise StoreError(
      f'The dataset in {folder.path} differs from the one that is asked for:\n'
      + '\n'.join(lines)
      + '\nAsk for the same, write to another folder, or delete the one that is there.'
    )


def _settings(of: Progress | Manifest) -> dict[str, Any]:
  settings = {
    'description': of.description,
    'metadata': of.metadata,
    'covariance': of.covariance,
  }
  return _flat({**of.schema.to_json(), **settings})


def _flat(tree: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
  """Nested dicts as one, so that a message can name the one setting that differs."""
  flat = {}
  for key, value in tree.items():
    if isinstance(value, Mapping):
      flat |= _flat(value, f'{prefix}{key}.')
    else:
      flat[f'{prefix}{key}'] = value
  return flat
