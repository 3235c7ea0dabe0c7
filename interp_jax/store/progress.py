"""How far an unfinished dataset is: what makes a killed writer able to continue."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from interp_jax.store.errors import FinishedError, StoreError
from interp_jax.store.folder import Folder
from interp_jax.store.manifest import (
  FORMAT,
  FORMAT_VERSION,
  MANIFEST,
  PROGRESS,
  Manifest,
  check_format,
  checksum,
  read_manifest,
)
from interp_jax.store.schema import Schema
from interp_jax.store.statistics import RunningStatistics


@dataclasses.dataclass
class Progress:
  """The content of `progress.json`.

  Attributes:
    schema: Arrays and sizes of the dataset.
    description: The manifest's.
    metadata: The manifest's, as JSON returns it.
    shards: Number of complete shards.
    statistics: Their sums, by array; made of zeros when not given.
  """

  schema: Schema
  description: str
  metadata: Mapping[str, Any]
  shards: int = 0
  statistics: dict[str, RunningStatistics] = dataclasses.field(default_factory=dict)

  def __post_init__(self) -> None:
    for spec in self.schema.arrays:
      self.statistics.setdefault(spec.name, RunningStatistics(spec.shape))

  def copy_statistics(self) -> dict[str, RunningStatistics]:
    """Sums that can be added to without touching these."""
    return {name: running.copy() for name, running in self.statistics.items()}

  def manifest(self, rows: int) -> Manifest:
    """The manifest of the finished dataset."""
    return Manifest(
      rows=rows,
      schema=self.schema,
      statistics={name: s.result() for name, s in self.statistics.items()},
      description=self.description,
      metadata=self.metadata,
    )

  def to_json(self) -> dict[str, Any]:
    """As plain data, with a checksum of the rest."""
    content = {
      'format': FORMAT,
      'format_version': FORMAT_VERSION,
      **self.schema.to_json(),
      'description': self.description,
      'metadata': dict(self.metadata),
      'shards': self.shards,
      'sums': {name: s.to_json() for name, s in self.statistics.items()},
    }
    return content | {'checksum': checksum(content)}


def read_progress(folder: Folder) -> Progress | None:
  """Reads how far the dataset in a folder is, None if none was begun.

  Raises:
    NotAStoreError, FormatVersionError, DamagedError: as for a manifest.
  """
  content = folder.read_json(PROGRESS)
  if content is None:
    return None
  check_format(folder, PROGRESS, content)
  sums = content['sums'].items()
  return Progress(
    schema=Schema.from_json(content),
    description=content['description'],
    metadata=content['metadata'],
    shards=content['shards'],
    statistics={name: RunningStatistics.from_json(s) for name, s in sums},
  )


def check_same(folder: Folder, there: Progress | Manifest, asked: Progress) -> None:
  """Raises if the dataset that is there is another than the one that is asked for.

  Args:
    folder: Its folder.
    there: What it says of itself, finished or not.
    asked: What is to be written.

  Raises:
    StoreError: that lists what differs.
  """
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
  settings = {'description': of.description, 'metadata': of.metadata}
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


def begin_or_continue(folder: Folder, asked: Progress) -> Progress:
  """Begins a dataset, or takes up one that was begun, and records that it is there.

  Args:
    folder: Its folder.
    asked: What is to be written.

  Returns:
    How far it is.

  Raises:
    FinishedError: if the folder holds this very dataset, finished.
    StoreError: if it holds something else.
  """
  if MANIFEST in folder.names():
    check_same(folder, read_manifest(folder), asked)
    tidy(folder)
    raise FinishedError(
      f'{folder.path} holds this dataset, finished. Read it, or delete it to write it '
      'again.'
    )
  progress = read_progress(folder)
  if progress is None:
    if folder.names():
      raise StoreError(f'{folder.path} is not empty and holds no activation dataset.')
    folder.clean()
    folder.write_json(PROGRESS, asked.to_json())
    return asked
  check_same(folder, progress, asked)
  _forget_unrecorded(folder, progress)
  return progress


def _forget_unrecorded(folder: Folder, progress: Progress) -> None:
  """Deletes the shards that a killed process left behind half written."""
  folder.clean()
  for name in folder.names():
    key = name.partition('/c/')[2]
    if key and int(key.partition('/')[0]) >= progress.shards:
      folder.delete(name)


def tidy(folder: Folder) -> None:
  """Deletes what only the writing of a dataset needed."""
  folder.delete(PROGRESS)
  folder.clean()
