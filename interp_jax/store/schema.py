"""What a dataset holds: its arrays, their shapes and how they are cut."""

from collections.abc import Iterable
import dataclasses
import math
from typing import Any

import ml_dtypes
import numpy as np

DTYPES = {
  'bfloat16': np.dtype(ml_dtypes.bfloat16),
  'float32': np.dtype(np.float32),
  'int8': np.dtype(np.int8),
  'int32': np.dtype(np.int32),
}

_CHUNK_BYTES = 512 * 1024
_CHUNKS_PER_SHARD = 64


@dataclasses.dataclass(frozen=True)
class Part:
  """One zarr array of a dataset.

  Attributes:
    name: Its name, which is that of its folder.
    shape: Shape of one row.
    dtype: Its dtype, a key of `DTYPES`.
  """

  name: str
  shape: tuple[int, ...]
  dtype: str

  @property
  def np_dtype(self) -> np.dtype:
    """The numpy dtype."""
    return DTYPES[self.dtype]

  @property
  def row_bytes(self) -> int:
    """Bytes of one row."""
    return math.prod(self.shape) * self.np_dtype.itemsize

  def file(self, shard: int) -> str:
    """The file of a shard, relative to the folder of the dataset."""
    return '/'.join([self.name, 'c', str(shard), *('0' for _ in self.shape)])


@dataclasses.dataclass(frozen=True)
class ArraySpec:
  """One array of a dataset: the activations of one site of one layer.

  Attributes:
    site: Name of the site.
    layer: Its layer; None for a site that has no layer axis.
    shape: Shape of one row, e.g. `(D,)`, or `(H, K)` for `z`.
    dtype: How it is stored: `'bfloat16'`, `'float32'`, or `'int8'`: 8 bits for each
      number and one float32 scale for each row, in an array of its own (`'int32'` for
      the provenance).
  """

  site: str
  layer: int | None
  shape: tuple[int, ...]
  dtype: str = 'float32'

  def __post_init__(self) -> None:
    if self.dtype not in DTYPES:
      raise ValueError(
        f'Cannot store dtype {self.dtype!r}. Valid: {", ".join(DTYPES)}.'
      )

  @property
  def name(self) -> str:
    """Name of the array and of its folder, e.g. `'resid_post.1'`."""
    return self.site if self.layer is None else f'{self.site}.{self.layer}'

  @property
  def np_dtype(self) -> np.dtype:
    """The numpy dtype in which rows are read: float32 for `'int8'`."""
    return DTYPES['float32' if self.dtype == 'int8' else self.dtype]

  @property
  def parts(self) -> tuple[Part, ...]:
    """The zarr arrays that hold it: one, or values and scales."""
    values = Part(self.name, self.shape, self.dtype)
    if self.dtype != 'int8':
      return (values,)
    return (values, Part(f'{self.name}.scale', (), 'float32'))

  @property
  def row_bytes(self) -> int:
    """Stored bytes of one row."""
    return sum(part.row_bytes for part in self.parts)


# Document, position and token of each row. It is stored like any other array.
PROVENANCE = ArraySpec('provenance', None, (3,), 'int32')
PROVENANCE_COLUMNS = ('document', 'position', 'token')


@dataclasses.dataclass(frozen=True)
class Schema:
  """The arrays of a dataset and the number of rows in each piece of them.

  A chunk is the unit of reading (and of the checksum), a shard is one file and the
  unit of writing. All arrays are cut at the same rows, so that a shard of the dataset
  is one file per array.

  Attributes:
    arrays: The activations, not the provenance.
    chunk_rows: Rows of a chunk.
    shard_rows: Rows of a shard, a multiple of `chunk_rows`.
  """

  arrays: tuple[ArraySpec, ...]
  chunk_rows: int
  shard_rows: int

  def __post_init__(self) -> None:
    names = [part.name for part in self.parts]
    if not self.arrays or len(set(names)) < len(names):
      raise ValueError(f'A dataset needs arrays of distinct names, got {names}.')
    if self.chunk_rows < 1 or self.shard_rows % self.chunk_rows or not self.shard_rows:
      raise ValueError(
        f'shard_rows={self.shard_rows} must be a positive multiple of '
        f'chunk_rows={self.chunk_rows}.'
      )

  @property
  def stored(self) -> tuple[ArraySpec, ...]:
    """All arrays, the provenance last."""
    return (*self.arrays, PROVENANCE)

  @property
  def parts(self) -> tuple[Part, ...]:
    """All zarr arrays, the provenance last."""
    return tuple(part for spec in self.stored for part in spec.parts)

  @property
  def row_bytes(self) -> int:
    """Stored bytes of a row of all arrays, provenance included."""
    return sum(part.row_bytes for part in self.parts)

  def shards(self, rows: int) -> int:
    """Number of shards of so many rows."""
    return -(-rows // self.shard_rows)

  def to_json(self) -> dict[str, Any]:
    """As plain data."""
    return {
      'chunk_rows': self.chunk_rows,
      'shard_rows': self.shard_rows,
      'arrays': [dataclasses.asdict(s) | {'shape': [*s.shape]} for s in self.arrays],
    }

  @classmethod
  def from_json(cls, data: dict[str, Any]) -> 'Schema':
    """The schema that `to_json` wrote."""
    arrays = tuple(
      ArraySpec(a['site'], a['layer'], tuple(a['shape']), a['dtype'])
      for a in data['arrays']
    )
    return cls(arrays, data['chunk_rows'], data['shard_rows'])


def make_schema(
  arrays: Iterable[ArraySpec],
  chunk_rows: int | None = None,
  shard_rows: int | None = None,
) -> Schema:
  """A schema with sizes that suit the widest array.

  By default a chunk of the widest array is at most 512 KiB: large enough to be read
  at the disk's full rate in any order, small enough that a window of many of them
  fits in memory. A shard holds 64 chunks (32 MiB): few files, and a harvest that is
  killed repeats little.

  Args:
    arrays: The arrays.
    chunk_rows: Rows of a chunk; None to choose.
    shard_rows: Rows of a shard, a multiple of `chunk_rows`; None for 64 chunks.

  Returns:
    The schema.

  Raises:
    ValueError: if there is no array, two have one name, or the sizes do not fit.
  """
  arrays = tuple(arrays)
  if chunk_rows is None:
    widest = max((spec.row_bytes for spec in arrays), default=1)
    rows = max(1, _CHUNK_BYTES // widest)
    chunk_rows = 2 ** int(math.log2(rows))
    if shard_rows is not None:
      chunk_rows = math.gcd(chunk_rows, shard_rows)
  if shard_rows is None:
    shard_rows = chunk_rows * _CHUNKS_PER_SHARD
  return Schema(arrays, chunk_rows, shard_rows)
