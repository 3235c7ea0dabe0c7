"""The manifest: what a finished dataset says about itself.

It is written last. A folder without one is not a dataset, or not yet.
"""

from collections.abc import Mapping
import dataclasses
import hashlib
import json
from typing import Any

from jaxtyping import Int
import numpy as np

from interp_jax.store.errors import (
  DamagedError,
  FormatVersionError,
  NotAStoreError,
  UnfinishedError,
)
from interp_jax.store.folder import Folder, encode_json
from interp_jax.store.schema import PROVENANCE, PROVENANCE_COLUMNS, Schema
from interp_jax.store.statistics import Statistics

FORMAT = 'interp_jax.store'
# 1: before there were 8-bit arrays, second moments and ranges of documents.
FORMAT_VERSION = 2
MANIFEST = 'manifest.json'
PROGRESS = 'progress.json'


@dataclasses.dataclass(frozen=True)
class Manifest:
  """What a dataset holds.

  Attributes:
    rows: Number of rows `N`.
    schema: Arrays, shapes, dtypes, sizes of chunks and shards.
    statistics: By the name of the array.
    covariances: SHA-256 of the file of each covariance, by the name of the array.
    documents: First and last document (by number) of each shard, `[shards, 2]`.
    description: One or two sentences: where the rows come from, and what `document`
      and `position` of their provenance count.
    metadata: Anything else, e.g. model and tokenizer.
  """

  rows: int
  schema: Schema
  statistics: Mapping[str, Statistics]
  covariances: Mapping[str, str]
  documents: Int[np.ndarray, 'shards 2']
  description: str
  metadata: Mapping[str, Any]

  @property
  def covariance(self) -> bool:
    """Whether there are covariances."""
    return bool(self.covariances)

  def to_json(self) -> dict[str, Any]:
    """As plain data, with a checksum of the rest."""
    return sign(
      {
        'rows': self.rows,
        **self.schema.to_json(),
        'statistics': {name: s.to_json() for name, s in self.statistics.items()},
        'covariances': dict(self.covariances),
        'provenance': {'name': PROVENANCE.name, 'columns': [*PROVENANCE_COLUMNS]},
        'documents': self.documents.tolist(),
        'description': self.description,
        'metadata': dict(self.metadata),
      }
    )

  @classmethod
  def from_json(cls, content: dict[str, Any]) -> 'Manifest':
    """The manifest that `to_json` wrote."""
    statistics = content['statistics']
    return cls(
      rows=content['rows'],
      schema=Schema.from_json(content),
      statistics={n: Statistics.from_json(s) for n, s in statistics.items()},
      covariances=content['covariances'],
      documents=np.asarray(content['documents'], np.int64).reshape(-1, 2),
      description=content['description'],
      metadata=content['metadata'],
    )


def sign(content: Mapping[str, Any]) -> dict[str, Any]:
  """Content of a JSON file with the format, its version and a checksum added."""
  content = {'format': FORMAT, 'format_version': FORMAT_VERSION, **content}
  return content | {'checksum': _checksum(content)}


def _checksum(content: Mapping[str, Any]) -> str:
  rest = {key: value for key, value in content.items() if key != 'checksum'}
  return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_signed(folder: Folder, name: str) -> dict[str, Any] | None:
  """Reads a JSON file that `sign` was applied to, None if there is none.

  Raises:
    NotAStoreError: if something else wrote it.
    FormatVersionError: if an older or newer version did.
    DamagedError: if it is not, byte for byte, what was written.
    StoreError: if it cannot be read.
  """
  data, path = folder.read(name), folder.where(name)
  if data is None:
    return None
  try:
    content = json.loads(data)
  except ValueError as error:
    raise DamagedError(f'{path} is damaged: {error}') from error
  if not isinstance(content, dict) or content.get('format') != FORMAT:
    raise NotAStoreError(f'{path} is not the {name} of an activation dataset.')
  _check_version(path, content.get('format_version'))
  if content.get('checksum') != _checksum(content) or encode_json(content) != data:
    raise DamagedError(f'{path} is damaged: its checksum does not match.')
  return content


def _check_version(path: str, version: Any) -> None:
  if version == FORMAT_VERSION:
    return
  newer = isinstance(version, int) and version > FORMAT_VERSION
  advice = (
    'It is newer: install a newer interp_jax to read it.'
    if newer
    else 'It is older: read it with the interp_jax that wrote it, or harvest again.'
  )
  raise FormatVersionError(
    f'{path} has format version {version!r}, this version of interp_jax reads '
    f'{FORMAT_VERSION}. {advice}'
  )


def read_manifest(folder: Folder) -> Manifest:
  """Reads and checks the manifest of a finished dataset.

  Raises:
    NotAStoreError: if the folder holds no dataset.
    UnfinishedError: if the dataset was never finished.
    FormatVersionError: if another version of the format was written.
    DamagedError: if the manifest is not what was written.
    StoreError: if it cannot be read.
  """
  content = read_signed(folder, MANIFEST)
  if content is not None:
    return Manifest.from_json(content)
  if folder.read(PROGRESS) is not None:
    raise UnfinishedError(
      f'The dataset {folder.path} is not finished. Run what wrote it again: it '
      'continues from the last complete shard.'
    )
  raise NotAStoreError(
    f'{folder.path} holds no activation dataset: it has no {MANIFEST}.'
  )
