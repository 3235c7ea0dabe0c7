"""The record of a complete shard: what makes a killed writer able to continue.

A record is written when all arrays of its shard are. It holds the sums of the shard,
so that the statistics of the dataset are merged from the records in the order of the
shards, whichever process wrote them and however often it was killed.
"""

from collections.abc import Iterable, Iterator, Mapping
import dataclasses
import hashlib
import io

import numpy as np

from interp_jax.store.errors import DamagedError
from interp_jax.store.folder import Folder
from interp_jax.store.schema import Schema
from interp_jax.store.statistics import RunningStatistics

_FOLDER = 'progress/'
_DIGEST_BYTES = 32


@dataclasses.dataclass(frozen=True)
class Record:
  """What is known of one shard.

  Attributes:
    rows: Its rows.
    documents: Its first and last document, by number.
    statistics: Its sums, by array.
  """

  rows: int
  documents: tuple[int, int]
  statistics: Mapping[str, RunningStatistics]

  def to_bytes(self) -> bytes:
    """As the content of a file: a digest, and numpy's zip of arrays."""
    arrays = {'rows': np.asarray(self.rows), 'documents': np.asarray(self.documents)}
    for array, running in self.statistics.items():
      for name, sums in running.to_arrays().items():
        arrays[f'{array}/{name}'] = sums
    file = io.BytesIO()
    np.savez(file, **arrays)
    data = file.getvalue()
    return hashlib.sha256(data).digest() + data

  @classmethod
  def from_bytes(cls, schema: Schema, data: bytes) -> 'Record':
    """The record that `to_bytes` wrote.

    Raises:
      ValueError: if it is damaged.
    """
    digest, content = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
      raise ValueError('its checksum does not match')
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
      rows = int(file['rows'])
      names = RunningStatistics(()).to_arrays()
      statistics = {
        spec.name: RunningStatistics.from_arrays(
          spec.shape, rows, {name: file[f'{spec.name}/{name}'] for name in names}
        )
        for spec in schema.arrays
      }
      first, last = file['documents'].tolist()
    return cls(rows, (first, last), statistics)


def record_file(shard: int) -> str:
  """The file of a shard's record."""
  return f'{_FOLDER}{shard:08}.npz'


def recorded(folder: Folder) -> set[int]:
  """The shards that are complete."""
  names = folder.names(_FOLDER)
  return {int(name[len(_FOLDER) :].removesuffix('.npz')) for name in names}


def read_records(
  folder: Folder, schema: Schema, shards: Iterable[int], at_once: int = 1
) -> Iterator[Record]:
  """Reads the records of shards, so many at a time.

  Raises:
    DamagedError: if one is damaged or missing.
  """
  names = [record_file(shard) for shard in shards]
  for name, data in zip(names, folder.read_many(names, at_once), strict=True):
    try:
      yield Record.from_bytes(schema, data or b'')
    except ValueError as error:
      raise DamagedError(
        f'{folder.where(name)} is damaged: {error}. Delete it and run again: its shard '
        'is written again.'
      ) from error
