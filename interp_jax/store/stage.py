"""Rows that wait until their shard is full."""

from collections.abc import Mapping

import numpy as np

from interp_jax.core import unknown
from interp_jax.store.schema import PROVENANCE, ArraySpec, Schema


class Stage:
  """The shard at hand: rows gather here, as precise as they were given.

  Attributes:
    filled: Number of rows.
  """

  def __init__(self, schema: Schema):
    self._schema = schema
    self._buffers: dict[str, np.ndarray] = {}
    self.filled = 0

  @property
  def full(self) -> bool:
    """Whether there are as many rows as a shard has."""
    return self.filled == self._schema.shard_rows

  def add(self, given: Mapping[str, np.ndarray], start: int) -> int:
    """Copies rows, from `start` on, as many as there is room for; says how many."""
    room = self._schema.shard_rows - self.filled
    count = min(room, len(given[PROVENANCE.name]) - start)
    for spec in self._schema.stored:
      rows = given[spec.name][start : start + count]
      buffer = self._buffer(spec, rows.dtype)
      with np.errstate(all='ignore'):  # Infinite values are noticed later, and named.
        buffer[self.filled : self.filled + count] = rows
    self.filled += count
    return count

  def take(self) -> dict[str, np.ndarray]:
    """The rows by array, each in its stored dtype or float32; the stage is empty."""
    rows = {name: buffer[: self.filled] for name, buffer in self._buffers.items()}
    self._buffers, self.filled = {}, 0
    return rows

  def _buffer(self, spec: ArraySpec, dtype: np.dtype) -> np.ndarray:
    """A buffer that can hold rows of this dtype.

    Rows in the dtype in which they are read are kept in it. Others are kept in
    float32, so that the error of rounding them can be measured.
    """
    kept = spec.np_dtype
    if dtype != kept and spec is not PROVENANCE:
      kept = np.dtype(np.float32)
    buffer = self._buffers.get(spec.name)
    if buffer is None:
      buffer = np.empty((self._schema.shard_rows, *spec.shape), kept)
    elif buffer.dtype != kept == np.float32:
      buffer = buffer.astype(kept)
    self._buffers[spec.name] = buffer
    return buffer


def check_rows(schema: Schema, given: Mapping[str, np.ndarray]) -> None:
  """Raises unless there are rows for every array, and they fit.

  Raises:
    ValueError: if a name or a shape does not fit the schema, or the provenance is not
      of integers that can be stored.
  """
  stored = {spec.name: spec for spec in schema.stored}
  provenance = given[PROVENANCE.name]
  count = len(provenance)
  for name in given:
    if name not in stored:
      raise ValueError(unknown('array', name, stored))
  for name, spec in stored.items():
    if name not in given:
      raise ValueError(f'append needs rows for all of {[*stored]}; {name!r} has none.')
    if given[name].shape != (count, *spec.shape):
      raise ValueError(
        f'Rows of {name!r} have shape {given[name].shape}, expected '
        f'{(count, *spec.shape)}.'
      )
  limits = np.iinfo(PROVENANCE.np_dtype)
  inside = (provenance >= limits.min) & (provenance <= limits.max)
  if not inside.all():
    raise ValueError(f'Provenance must fit {PROVENANCE.dtype}.')
