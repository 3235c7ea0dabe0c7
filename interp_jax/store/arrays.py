"""The arrays of a dataset as TensorStores, and errors that name what is damaged."""

from collections.abc import Callable, Iterable
import dataclasses
from typing import Any, TypeVar

from jaxtyping import Int
import numpy as np
import tensorstore as ts

from interp_jax.store.errors import DamagedError
from interp_jax.store.folder import Folder
from interp_jax.store.manifest import Manifest
from interp_jax.store.schema import ArraySpec, Schema, zarr_metadata

_T = TypeVar('_T')

# Enough for the indices of the shards in use. Chunks are read once per epoch, so
# caching more of them only costs memory.
_CACHE_BYTES = 4 * 2**20


@dataclasses.dataclass(frozen=True)
class Damage:
  """One chunk that cannot be read.

  Attributes:
    array: Name of the array.
    chunk: Index of the chunk.
    start: Its first row.
    stop: The row after its last.
    file: The file of its shard, relative to the folder of the dataset.
    reason: What TensorStore said.
  """

  array: str
  chunk: int
  start: int
  stop: int
  file: str
  reason: str

  def __str__(self) -> str:
    return (
      f'chunk {self.chunk} (rows {self.start} to {self.stop - 1}) of array '
      f'{self.array!r} in file {self.file!r} is damaged: {self.reason}'
    )


@dataclasses.dataclass(frozen=True)
class StoredArray:
  """One array of a finished dataset, open for reading.

  Attributes:
    spec: Its name, shape and dtype.
    schema: Where its rows are cut.
    rows: Number of rows `N`.
    store: The `tensorstore.TensorStore`, indexed `[N, ...]`.
  """

  spec: ArraySpec
  schema: Schema
  rows: int
  store: Any

  def read_slice(self, start: int, stop: int) -> np.ndarray:
    """Consecutive rows.

    Raises:
      DamagedError: that names the first damaged chunk.
    """
    size = self.schema.chunk_rows
    chunks = range(start // size, -(-stop // size))
    return self._read(lambda: self.store[start:stop].read().result(), chunks)

  def read_rows(self, indices: Int[np.ndarray, 'n']) -> np.ndarray:
    """Rows by their indices.

    Raises:
      DamagedError: that names the first damaged chunk.
    """
    chunks = np.unique(indices // self.schema.chunk_rows).tolist()
    return self._read(lambda: self.store[indices].read().result(), chunks)

  def read_chunks(self, chunks: Iterable[int]) -> list[np.ndarray]:
    """Whole chunks, all requested at once; the last one of the array is shorter.

    Raises:
      DamagedError: that names the first damaged chunk.
    """
    chunks = list(chunks)

    def read() -> list[np.ndarray]:
      reads = [self.store[slice(*self.span(chunk))].read() for chunk in chunks]
      return [read.result() for read in reads]

    return self._read(read, chunks)

  def span(self, chunk: int) -> tuple[int, int]:
    """The first row of a chunk and the row after its last."""
    start = chunk * self.schema.chunk_rows
    return start, min(start + self.schema.chunk_rows, self.rows)

  def check(self, chunk: int) -> Damage | None:
    """Reads one chunk and says what is wrong with it, if anything."""
    start, stop = self.span(chunk)
    try:
      self.store[start:stop].read().result()
    except (ValueError, OSError) as error:
      zeros = ['0'] * len(self.spec.shape)
      shard = str(start // self.schema.shard_rows)
      file = '/'.join([self.spec.name, 'c', shard, *zeros])
      return Damage(self.spec.name, chunk, start, stop, file, str(error))
    return None

  def _read(self, read: Callable[[], _T], chunks: Iterable[int]) -> _T:
    try:
      return read()
    except (ValueError, OSError):
      for chunk in chunks:
        damage = self.check(chunk)
        if damage is not None:
          raise DamagedError(f'{damage}. Write the dataset again.') from None
      raise


def metadata_file(spec: ArraySpec) -> str:
  """The name of an array's zarr.json in the folder of the dataset."""
  return f'{spec.name}/zarr.json'


def open_array(folder: Folder, spec: ArraySpec, *, write: bool = False) -> Any:
  """Opens one array as a TensorStore.

  A chunk that was written is always stored, zeros or not, so that a missing one is an
  error and never read as zeros.

  Args:
    folder: The folder of the dataset.
    spec: The array; its zarr.json exists.
    write: Whether to open for writing instead of reading.

  Returns:
    A `tensorstore.TensorStore`, indexed `[N, ...]`.
  """
  kvstore = dict(folder.spec)
  kvstore['path'] += f'{spec.name}/'
  missing = (
    {'store_data_equal_to_fill_value': True}
    if write
    else {'fill_missing_data_reads': False}
  )
  checks = {'recheck_cached_metadata': 'open', 'recheck_cached_data': 'open'}
  context = ts.Context({'cache_pool': {'total_bytes_limit': _CACHE_BYTES}})
  return ts.open(
    {'driver': 'zarr3', 'kvstore': kvstore, **checks, **missing},
    open=True,
    read=not write,
    write=write,
    context=context,
  ).result()


def open_arrays(folder: Folder, manifest: Manifest) -> dict[str, StoredArray]:
  """Opens all arrays of a finished dataset, provenance included.

  Raises:
    DamagedError: if an array's zarr.json is not the one that the manifest implies.
  """
  schema, rows = manifest.schema, manifest.rows
  arrays = {}
  for spec in schema.stored:
    name = metadata_file(spec)
    if folder.read_json(name) != zarr_metadata(schema, spec, rows):
      raise DamagedError(
        f'{folder.path / name} is damaged or missing: it does not match the manifest.'
      )
    arrays[spec.name] = StoredArray(spec, schema, rows, open_array(folder, spec))
  return arrays
