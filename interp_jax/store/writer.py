"""Writing a dataset shard by shard, so that it can be killed at any moment."""

import collections
from collections.abc import Mapping
from concurrent import futures
import contextlib
import json
import os
from typing import Any

from jaxtyping import Float, Int
import numpy as np

from interp_jax.core import unknown
from interp_jax.store.arrays import metadata_file, open_array
from interp_jax.store.errors import StoreError
from interp_jax.store.folder import Folder
from interp_jax.store.manifest import MANIFEST, PROGRESS, Manifest
from interp_jax.store.progress import Progress, begin_or_continue, tidy
from interp_jax.store.schema import PROVENANCE, UNBOUNDED, Schema, zarr_metadata
from interp_jax.store.statistics import RunningStatistics


class Writer:
  """Writes the rows of a dataset, in order.

  Rows gather in memory until a shard is full; a thread then writes the shard of every
  array and, when all of it is on disk, records it together with the statistics so far
  in `progress.json`, which is replaced atomically. A process that is killed loses the
  shards in flight and nothing else. Opening a `Writer` on the same folder again
  continues: `rows` says with which row. The finished dataset is, byte for byte, that
  of a process that was never killed.

      with Writer(path, schema, description='...') as writer:
        for ... in everything_from(writer.rows):
          writer.append({'resid_post.1': x}, provenance)

  Leaving the block finishes the dataset; leaving it by an exception does not, and the
  dataset can be continued. At most `pending + 1` shards are held in memory.

  One writer at a time: two on one folder are not noticed.
  """

  def __init__(
    self,
    path: str | os.PathLike,
    schema: Schema,
    *,
    description: str = '',
    metadata: Mapping[str, Any] | None = None,
    pending: int = 2,
  ):
    """Begins a dataset or continues an unfinished one.

    Args:
      path: Its folder, which is new, empty, or holds a dataset that was begun with
        the same schema, description and metadata.
      schema: Its arrays; see `make_schema`.
      description: Where the rows come from and what their provenance counts.
      metadata: Anything else that JSON can hold.
      pending: How many full shards may wait to be written. `append` blocks when there
        are more.

    Raises:
      FinishedError: if the folder holds this very dataset, finished.
      StoreError: if it holds something else, or a dataset that was begun differently,
        or if it cannot be written.
    """
    self._schema = schema
    self._folder = _make_folder(path)
    asked = Progress(schema, description, json.loads(json.dumps(metadata or {})))
    self._progress = begin_or_continue(self._folder, asked)
    self._arrays = {s.name: self._open(s) for s in schema.stored}
    self._rows = self._progress.shards * schema.shard_rows
    self._buffers: dict[str, np.ndarray] = {}
    self._filled = 0
    self._limit = pending
    self._thread = futures.ThreadPoolExecutor(1, 'store-writer')
    self._pending: collections.deque[futures.Future] = collections.deque()
    self._failure: StoreError | None = None

  @property
  def rows(self) -> int:
    """Number of rows so far: the next one to append has this index."""
    return self._rows

  def append(
    self,
    rows: Mapping[str, Float[np.ndarray, 'N ...']],
    provenance: Int[np.ndarray, 'N 3'],
  ) -> None:
    """Appends rows to all arrays.

    Args:
      rows: For each array, by its name, the same number of rows. They are rounded to
        the dtype of the array.
      provenance: Document, position and token id of each row.

    Raises:
      ValueError: if a name or a shape does not fit the schema.
      StoreError: if an earlier shard could not be written.
    """
    given = {**rows, PROVENANCE.name: provenance}
    self._check(given)
    total, taken = len(provenance), 0
    while taken < total:
      taken += self._fill(given, taken)
      if self._filled == self._schema.shard_rows:
        self._submit()

  def finish(self) -> Manifest:
    """Writes what is left and, last, the manifest.

    Returns:
      The manifest.

    Raises:
      StoreError: if something could not be written, or there is no row at all.
    """
    if self._filled:
      self._submit()
    self.close()
    if not self._rows:
      raise StoreError(f'Cannot finish {self._folder.path}: it has no rows.')
    for spec in self._schema.stored:
      content = zarr_metadata(self._schema, spec, self._rows)
      self._folder.write_json(metadata_file(spec), content)
    manifest = self._progress.manifest(self._rows)
    self._folder.write_json(MANIFEST, manifest.to_json())
    tidy(self._folder)
    return manifest

  def close(self) -> None:
    """Waits for the shards in flight; rows of an incomplete shard are dropped.

    Raises:
      StoreError: if a shard could not be written.
    """
    try:
      self._wait(0)
    finally:
      self._thread.shutdown(cancel_futures=True)

  def __enter__(self) -> 'Writer':
    return self

  def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
    if kind is None:
      self.finish()
      return
    # The exception that is already on its way says more than one of these.
    with contextlib.suppress(StoreError):
      self.close()

  def _open(self, spec: Any) -> Any:
    content = zarr_metadata(self._schema, spec, UNBOUNDED)
    self._folder.write_json(metadata_file(spec), content)
    return open_array(self._folder, spec, write=True)

  def _check(self, given: Mapping[str, np.ndarray]) -> None:
    stored = {spec.name: spec for spec in self._schema.stored}
    provenance = given[PROVENANCE.name]
    count = len(provenance)
    for name in given:
      if name not in stored:
        raise ValueError(unknown('array', name, stored))
    for name, spec in stored.items():
      if name not in given:
        raise ValueError(
          f'append needs rows for all of {[*stored]}; {name!r} has none.'
        )
      if given[name].shape != (count, *spec.shape):
        raise ValueError(
          f'Rows of {name!r} have shape {given[name].shape}, expected '
          f'{(count, *spec.shape)}.'
        )
    limits = np.iinfo(PROVENANCE.np_dtype)
    inside = (provenance >= limits.min) & (provenance <= limits.max)
    if not inside.all():
      raise ValueError(f'Provenance must fit {PROVENANCE.dtype}.')

  def _fill(self, given: Mapping[str, np.ndarray], start: int) -> int:
    """Copies as many rows as fit into the shard at hand; says how many."""
    if not self._buffers:
      for spec in self._schema.stored:
        shape = (self._schema.shard_rows, *spec.shape)
        self._buffers[spec.name] = np.empty(shape, spec.np_dtype)
    room = self._schema.shard_rows - self._filled
    count = min(room, len(given[PROVENANCE.name]) - start)
    for name, buffer in self._buffers.items():
      part = given[name][start : start + count]
      buffer[self._filled : self._filled + count] = part
    self._filled += count
    self._rows += count
    return count

  def _submit(self) -> None:
    shard = {name: buffer[: self._filled] for name, buffer in self._buffers.items()}
    self._buffers, start = {}, self._rows - self._filled
    self._filled = 0
    self._pending.append(self._thread.submit(self._write, start, shard))
    self._wait(self._limit)

  def _wait(self, limit: int) -> None:
    """Waits until at most `limit` shards are in flight."""
    while len(self._pending) > limit:
      try:
        self._pending.popleft().result()
      except Exception as error:  # TensorStore's errors have no class of their own.
        self._failure = self._failure or self._explain(error)
    if self._failure is not None:
      raise self._failure

  def _explain(self, error: Exception) -> StoreError:
    done = self._progress.shards * self._schema.shard_rows
    explained = StoreError(
      f'Cannot write to {self._folder.path}: {error}. The first {done} rows are safe; '
      'when the cause is removed, run again to continue from there.'
    )
    explained.__cause__ = error
    return explained

  def _write(self, start: int, shard: Mapping[str, np.ndarray]) -> None:
    """Writes one shard of every array, then records it. Runs in the thread."""
    if start != self._progress.shards * self._schema.shard_rows:
      raise StoreError('an earlier shard could not be written')
    # Each future is kept and awaited: a write whose future is dropped may be lost.
    writes = [
      self._arrays[name][start : start + len(rows)].write(
        rows, can_reference_source_data_indefinitely=True
      )
      for name, rows in shard.items()
    ]
    # The statistics take their time while the disk is busy.
    statistics = self._progress.copy_statistics()
    for name, running in statistics.items():
      running.add(shard[name])
    for write in writes:
      write.result()
    _check_finite(statistics, start)
    self._progress.statistics = statistics
    if len(shard[PROVENANCE.name]) == self._schema.shard_rows:
      self._progress.shards += 1
      self._folder.write_json(PROGRESS, self._progress.to_json())


def _check_finite(statistics: Mapping[str, RunningStatistics], start: int) -> None:
  for name, running in statistics.items():
    if not running.finite:
      raise ValueError(
        f'array {name!r} has infinite or NaN values in rows {start} to '
        f'{running.rows - 1}'
      )


def _make_folder(path: str | os.PathLike) -> Folder:
  try:
    os.makedirs(path, exist_ok=True)
  except OSError as error:
    raise StoreError(f'Cannot make the folder {path}: {error}') from error
  return Folder(path)
