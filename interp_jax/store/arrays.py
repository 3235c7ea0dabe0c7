"""The arrays of a finished dataset, and errors that name what is damaged."""

from collections.abc import Callable, Iterable, Iterator, Sequence
import dataclasses
from typing import Any, TypeVar

from jaxtyping import Int
import numpy as np
import tensorstore as ts

from interp_jax.store import zarr
from interp_jax.store.codec import decode
from interp_jax.store.errors import DamagedError, StoreError
from interp_jax.store.folder import Folder, encode_json
from interp_jax.store.manifest import Manifest
from interp_jax.store.schema import ArraySpec, Part, Schema

_T = TypeVar('_T')

_FAILURES = (ValueError, OSError, RuntimeError)
# How TensorStore's message begins when the bytes are at fault, and not the way to them.
_DAMAGE = ('DATA_LOSS', 'NOT_FOUND', 'OUT_OF_RANGE', 'INVALID_ARGUMENT')


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
    parts: A `tensorstore.TensorStore` indexed `[N, ...]` for each of `spec.parts`.
  """

  spec: ArraySpec
  schema: Schema
  rows: int
  parts: tuple[Any, ...]

  def read_slice(self, start: int, stop: int) -> np.ndarray:
    """Consecutive rows.

    Raises:
      DamagedError: that names the first damaged chunk.
      StoreError: if they cannot be read for another reason.
    """
    size = self.schema.chunk_rows
    chunks = range(start // size, -(-stop // size))
    return self._read(lambda: self._result(self._request(slice(start, stop))), chunks)

  def read_rows(self, indices: Int[np.ndarray, 'n']) -> np.ndarray:
    """Rows by their indices.

    Raises:
      DamagedError, StoreError: as `read_slice`.
    """
    chunks = np.unique(indices // self.schema.chunk_rows).tolist()
    return self._read(lambda: self._result(self._request(indices)), chunks)

  def read_chunks(self, chunks: Sequence[int], into: Sequence[np.ndarray]) -> int:
    """Whole chunks, one after the other, into memory that is there.

    Args:
      chunks: Their indices.
      into: For each of the parts, an array with room for their rows.

    Returns:
      The number of rows.

    Raises:
      DamagedError, StoreError: as `read_slice`.
    """
    spans = [slice(*self.span(chunk)) for chunk in chunks]
    rows = sum(span.stop - span.start for span in spans)

    def read() -> None:
      copies = [
        # One copy of all chunks at once, by which none waits for another.
        ts.array(buffer)[:rows].write(ts.concat([part[s] for s in spans], axis=0))
        for part, buffer in zip(self.parts, into, strict=True)
      ]
      for copy in copies:
        copy.result()

    self._read(read, chunks)
    return rows

  def span(self, chunk: int) -> tuple[int, int]:
    """The first row of a chunk and the row after its last."""
    start = chunk * self.schema.chunk_rows
    return start, min(start + self.schema.chunk_rows, self.rows)

  def check(self, chunks: Iterable[int]) -> Iterator[Damage]:
    """Reads chunks, all requested at once, and says what is wrong with them.

    Raises:
      StoreError: if one cannot be read, and not because its bytes are damaged.
    """
    chunks = list(chunks)
    requests = [self._request(slice(*self.span(chunk))) for chunk in chunks]
    for chunk, request in zip(chunks, requests, strict=True):
      for part, read in zip(self.spec.parts, request, strict=True):
        try:
          read.result()
        except _FAILURES as error:
          yield self._damage(part, chunk, error)

  def _request(self, where: Any) -> list[Any]:
    return [part[where].read() for part in self.parts]

  def _result(self, request: list[Any]) -> np.ndarray:
    return decode(self.spec, [read.result() for read in request])

  def _damage(self, part: Part, chunk: int, error: Exception) -> Damage:
    reason = str(error)
    start, stop = self.span(chunk)
    file = part.file(start // self.schema.shard_rows)
    if not reason.startswith(_DAMAGE):
      raise StoreError(f'Cannot read {file!r} of the dataset: {reason}') from error
    return Damage(part.name, chunk, start, stop, file, reason)

  def _read(self, read: Callable[[], _T], chunks: Iterable[int]) -> _T:
    try:
      return read()
    except _FAILURES:
      for chunk in chunks:
        for damage in self.check([chunk]):
          raise DamagedError(f'{damage}. Write the dataset again.') from None
      raise


def open_arrays(folder: Folder, manifest: Manifest) -> dict[str, StoredArray]:
  """Opens all arrays of a finished dataset, provenance included.

  Raises:
    DamagedError: if an array's zarr.json is not the one that the manifest implies.
  """
  schema, rows = manifest.schema, manifest.rows
  for part in schema.parts:
    name = zarr.metadata_file(part)
    if folder.read(name) != encode_json(zarr.metadata(schema, part, rows)):
      raise DamagedError(
        f'{folder.where(name)} is damaged or missing: it does not match the manifest.'
      )
  opened = {p.name: zarr.open_array(folder, schema, p, rows) for p in schema.parts}
  return {
    spec.name: StoredArray(
      spec, schema, rows, tuple(opened[p.name] for p in spec.parts)
    )
    for spec in schema.stored
  }
