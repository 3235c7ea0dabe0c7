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

from interp_jax.store import codec, zarr
from interp_jax.store.errors import StoreError
from interp_jax.store.finish import await_manifest, write_manifest
from interp_jax.store.folder import Folder
from interp_jax.store.manifest import Manifest
from interp_jax.store.progress import Progress, begin_or_continue
from interp_jax.store.records import Record, record_file
from interp_jax.store.schema import PROVENANCE, Schema
from interp_jax.store.share import Share, take_up
from interp_jax.store.stage import Stage, check_rows
from interp_jax.store.statistics import RunningStatistics


class Writer:
  """Writes the rows of a dataset, in order.

  Rows gather in memory until a shard is full; a thread then writes the shard of every
  array and, when all of it is on disk, a record of it. A process that is killed loses
  the shards in flight and nothing else. Opening a `Writer` on the same path again
  continues: `rows` says with which row. The finished dataset is, byte for byte, that
  of a process that was never killed.

      with Writer(path, schema, description='...') as writer:
        for ... in everything_from(writer.rows):
          writer.append({'resid_post.1': x}, provenance)

  Leaving the block finishes the dataset; leaving it by an exception does not, and the
  dataset can be continued. At most `pending + 2` shards are held in memory.

  Several processes write one dataset when each says which of them it is and how many
  rows there are in all. Each owns whole shards, and appends the rows from `rows` to
  `stop`. The dataset is byte for byte that of one process.
  """

  def __init__(
    self,
    path: str | os.PathLike,
    schema: Schema,
    *,
    description: str = '',
    metadata: Mapping[str, Any] | None = None,
    covariance: bool = False,
    pending: int = 2,
    total_rows: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
  ):
    """Begins a dataset or continues an unfinished one.

    Args:
      path: Its folder, or a URL (`s3://...`, `gs://...` or `file://...`), which is
        new, empty, or holds a dataset that was begun with the same schema, description
        and metadata.
      schema: Its arrays; see `make_schema`.
      description: Where the rows come from and what their provenance counts.
      metadata: Anything else that JSON can hold.
      covariance: Whether to gather the `[D, D]` covariance of each array. It costs
        `2 D^2` operations a row, and until the dataset is finished `8 D^2` bytes of
        storage a shard.
      pending: How many full shards may wait to be written. `append` blocks when there
        are more.
      total_rows: The rows of the dataset, of all processes together; needed when
        there are several.
      process_index: Which process this is, in `[0, process_count)`.
      process_count: Number of processes that write the dataset.

    Raises:
      ValueError: if the numbers of processes or rows make no sense.
      FinishedError: if there is this very dataset, finished.
      StoreError: if there is something else, or a dataset that was begun differently,
        or if it cannot be written.
    """
    self._share = Share.of_process(schema, total_rows, process_index, process_count)
    self._schema = schema
    self._leads = process_index == 0
    self._progress = Progress(
      schema, description, json.loads(json.dumps(metadata or {})), covariance
    )
    self._folder = Folder(path)
    self._folder.make()
    begin_or_continue(self._folder, self._progress)
    self._rows = self._safe = take_up(self._folder, schema, self._share)
    self._arrays = {
      part.name: zarr.open_array(self._folder, schema, part) for part in schema.parts
    }
    self._stage = Stage(schema)
    self._limit = pending
    self._thread = futures.ThreadPoolExecutor(1, 'store-writer')
    self._pending: collections.deque[futures.Future] = collections.deque()
    self._failure: StoreError | None = None

  @property
  def rows(self) -> int:
    """The next row to append has this index; it is the number of rows so far."""
    return self._rows

  @property
  def stop(self) -> int | None:
    """The row after the last that this process appends; None without `total_rows`."""
    return self._share.stop

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
      ValueError: if a name or a shape does not fit the schema, or there are more rows
        than `stop`.
      StoreError: if an earlier shard could not be written.
    """
    given = {**rows, PROVENANCE.name: provenance}
    check_rows(self._schema, given)
    if self.stop is not None and self._rows + len(provenance) > self.stop:
      raise ValueError(
        f'This process writes rows up to {self.stop - 1}; {len(provenance)} rows from '
        f'{self._rows} on were given.'
      )
    taken = 0
    while taken < len(provenance):
      count = self._stage.add(given, taken)
      taken += count
      self._rows += count
      if self._stage.full:
        self._submit()

  def finish(self, timeout_s: float = 600.0) -> Manifest:
    """Writes what is left and, last, the manifest.

    Of several processes each calls it: the first one writes the manifest when the
    others have written their shards, and the others wait for that.

    Args:
      timeout_s: How long to wait for other processes.

    Returns:
      The manifest.

    Raises:
      StoreError: if something could not be written, rows are missing, there is no row
        at all, or other processes do not finish in time.
    """
    if self._stage.filled:
      self._submit()
    self.close()
    if self.stop is not None and self._rows != self.stop:
      raise StoreError(
        f'Cannot finish {self._folder.path}: rows {self._rows} to {self.stop - 1} were '
        'not appended.'
      )
    rows = self._share.total or self._rows
    if not rows:
      raise StoreError(f'Cannot finish {self._folder.path}: it has no rows.')
    if self._leads:
      return write_manifest(self._folder, self._progress, rows, timeout_s)
    return await_manifest(self._folder, timeout_s)

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

  def _submit(self) -> None:
    start = self._rows - self._stage.filled
    self._pending.append(self._thread.submit(self._write, start, self._stage.take()))
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
    explained = StoreError(
      f'Cannot write to {self._folder.path}: {error}. The rows before {self._safe} '
      'are safe; when the cause is removed, run again to continue from there.'
    )
    explained.__cause__ = error
    return explained

  def _write(self, start: int, rows: Mapping[str, np.ndarray]) -> None:
    """Writes one shard of every array, then records it. Runs in the thread."""
    if start != self._safe:
      raise StoreError('an earlier shard could not be written')
    encoded = {s.name: codec.encode(s, rows[s.name]) for s in self._schema.stored}
    count = len(rows[PROVENANCE.name])
    # Each future is kept and awaited: a write whose future is dropped may be lost.
    writes = [
      self._arrays[part.name][start : start + count].write(
        data, can_reference_source_data_indefinitely=True
      )
      for spec in self._schema.stored
      for part, data in zip(spec.parts, encoded[spec.name].parts, strict=True)
    ]
    try:
      # The statistics take their time while the disk is busy.
      record = self._record(start, encoded)
    finally:
      for write in writes:
        write.result()
    shard = start // self._schema.shard_rows
    self._folder.write(record_file(shard), record.to_bytes())
    self._safe = start + count

  def _record(self, start: int, encoded: Mapping[str, codec.Encoded]) -> Record:
    """What is known of a shard."""
    documents = encoded[PROVENANCE.name].parts[0][:, 0]
    statistics = {}
    for spec in self._schema.arrays:
      running = RunningStatistics(spec.shape, covariance=self._progress.covariance)
      for block in encoded[spec.name].decoded(spec):
        running.add(block)
      running.add_error(encoded[spec.name].squared_error)
      if not running.finite:
        raise ValueError(
          f'array {spec.name!r} has infinite or NaN values in rows {start} to '
          f'{start + running.rows - 1}'
        )
      statistics[spec.name] = running
    ends = (int(documents.min()), int(documents.max()))
    return Record(len(documents), ends, statistics)
