"""The manifest: what a finished dataset says about itself.

It is written last. A folder without one is not a dataset, or not yet.
"""

from collections.abc import Mapping
import dataclasses
import hashlib
import json
from typing import Any

from interp_jax.store.errors import (
  DamagedError,
  FormatVersionError,
  NotAStoreError,
  UnfinishedError,
)
from interp_jax.store.folder import Folder
from interp_jax.store.schema import PROVENANCE, PROVENANCE_COLUMNS, Schema
from interp_jax.store.statistics import Statistics

FORMAT = 'interp_jax.store'
FORMAT_VERSION = 1
MANIFEST = 'manifest.json'
PROGRESS = 'progress.json'


@dataclasses.dataclass(frozen=True)
class Manifest:
  """What a dataset holds.

  Attributes:
    rows: Number of rows `N`.
    schema: Arrays, shapes, dtypes, sizes of chunks and shards.
    statistics: By the name of the array.
    description: One or two sentences: where the rows come from, and what `document`
      and `position` of their provenance count.
    metadata: Anything else, e.g. model and tokenizer.
  """

  rows: int
  schema: Schema
  statistics: Mapping[str, Statistics]
  description: str
  metadata: Mapping[str, Any]

  def to_json(self) -> dict[str, Any]:
    """As plain data, with a checksum of the rest."""
    content = {
      'format': FORMAT,
      'format_version': FORMAT_VERSION,
      'rows': self.rows,
      **self.schema.to_json(),
      'statistics': {name: s.to_json() for name, s in self.statistics.items()},
      'provenance': {'name': PROVENANCE.name, 'columns': [*PROVENANCE_COLUMNS]},
      'description': self.description,
      'metadata': dict(self.metadata),
    }
    return content | {'checksum': checksum(content)}

  @classmethod
  def from_json(cls, content: dict[str, Any]) -> 'Manifest':
    """The manifest that `to_json` wrote."""
    statistics = content['statistics']
    return cls(
      rows=content['rows'],
      schema=Schema.from_json(content),
      statistics={n: Statistics.from_json(s) for n, s in statistics.items()},
      description=content['description'],
      metadata=content['metadata'],
    )


def checksum(content: Mapping[str, Any]) -> str:
  """SHA-256 of JSON content, whatever its layout, leaving out its own `checksum`."""
  rest = {key: value for key, value in content.items() if key != 'checksum'}
  return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def check_format(folder: Folder, name: str, content: Any) -> None:
  """Raises unless this is the content of a file that this version can read.

  Raises:
    NotAStoreError: if something else wrote it.
    FormatVersionError: if an older or newer version did.
    DamagedError: if it is not what was written.
  """
  path = folder.path / name
  if not isinstance(content, dict) or content.get('format') != FORMAT:
    raise NotAStoreError(f'{path} is not the {name} of an activation dataset.')
  version = content.get('format_version')
  if version != FORMAT_VERSION:
    raise FormatVersionError(
      f'{path} has format version {version!r}, this version of interp_jax reads '
      f'{FORMAT_VERSION}. Read it with the version of interp_jax that wrote it, or '
      'harvest again.'
    )
  if content.get('checksum') != checksum(content):
    raise DamagedError(f'{path} is damaged: its checksum does not match.')


def read_manifest(folder: Folder) -> Manifest:
  """Reads and checks the manifest of a finished dataset.

  Raises:
    NotAStoreError: if the folder holds no dataset.
    UnfinishedError: if the dataset was never finished.
    FormatVersionError: if another version of the format was written.
    DamagedError: if the manifest is not what was written.
  """
  content = folder.read_json(MANIFEST)
  if content is None:
    if folder.read_json(PROGRESS) is not None:
      raise UnfinishedError(
        f'The dataset {folder.path} is not finished. Run what wrote it again: it '
        'continues from the last complete shard.'
      )
    raise NotAStoreError(
      f'{folder.path} holds no activation dataset: it has no {MANIFEST}.'
    )
  check_format(folder, MANIFEST, content)
  return Manifest.from_json(content)
