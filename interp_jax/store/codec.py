"""Rows as they are given, and as they are stored."""

from collections.abc import Iterator, Sequence
import dataclasses

from jaxtyping import Float, Float32, Int8
import numpy as np

from interp_jax.store.schema import ArraySpec

# Rows that are converted at a time: few enough to stay in the cache.
BLOCK_ROWS = 256
_LARGEST = 127


@dataclasses.dataclass(frozen=True)
class Encoded:
  """Rows of one array as they are stored.

  Attributes:
    parts: One numpy array for each of `ArraySpec.parts`.
    squared_error: Sum of the squared differences from the rows that were given.
  """

  parts: tuple[np.ndarray, ...]
  squared_error: float

  def decoded(self, spec: ArraySpec) -> Iterator[np.ndarray]:
    """The rows as they will be read, block by block."""
    for start in range(0, len(self.parts[0]), BLOCK_ROWS):
      yield decode(spec, [part[start : start + BLOCK_ROWS] for part in self.parts])


def encode(spec: ArraySpec, rows: np.ndarray) -> Encoded:
  """Rounds rows to the stored dtype and measures what that changes.

  For `'int8'`, each row is divided by its scale, the largest magnitude over 127, and
  rounded to the nearest integer.

  Args:
    spec: The array.
    rows: `[n, ...]`, in the stored dtype or float32.

  Returns:
    The stored form. A value that is not finite stays one, in the error or in a part.
  """
  if spec.dtype != 'int8' and rows.dtype == spec.np_dtype:
    return Encoded((rows,), 0.0)
  parts = tuple(np.empty((len(rows), *p.shape), p.np_dtype) for p in spec.parts)
  error = 0.0
  with np.errstate(all='ignore'):
    for start in range(0, len(rows), BLOCK_ROWS):
      block = rows[start : start + BLOCK_ROWS]
      pieces = (
        quantize(block) if spec.dtype == 'int8' else [block.astype(spec.np_dtype)]
      )
      for part, piece in zip(parts, pieces, strict=True):
        part[start : start + BLOCK_ROWS] = piece
      difference = (decode(spec, pieces).astype(np.float32) - block).ravel()
      error += float(np.dot(difference, difference))
  return Encoded(parts, error)


def decode(spec: ArraySpec, parts: Sequence[np.ndarray]) -> np.ndarray:
  """Stored rows as they are read: `[n, ...]` of `spec.np_dtype`."""
  if spec.dtype != 'int8':
    return parts[0]
  with np.errstate(invalid='ignore'):  # An infinite scale, which the writer refuses.
    return dequantize(parts[0], parts[1])


def quantize(
  rows: Float[np.ndarray, 'n ...'],
) -> tuple[Int8[np.ndarray, 'n ...'], Float32[np.ndarray, 'n']]:
  """Rows as 8-bit integers, and the scale of each."""
  flat = np.asarray(rows, np.float32).reshape(len(rows), -1)
  scale = np.abs(flat).max(axis=1, initial=0) / np.float32(_LARGEST)
  # A row so small that its scale is no number larger than zero becomes zeros.
  divisor = np.where(scale == 0, np.float32(np.inf), scale)
  values = flat / divisor[:, None]
  np.rint(values, out=values)
  np.clip(values, -_LARGEST, _LARGEST, out=values)
  return values.astype(np.int8).reshape(rows.shape), scale


def dequantize(
  values: Int8[np.ndarray, 'n ...'], scale: Float32[np.ndarray, 'n']
) -> Float32[np.ndarray, 'n ...']:
  """The rows that `quantize` stands for."""
  return values * scale.reshape(-1, *(1 for _ in values.shape[1:]))
