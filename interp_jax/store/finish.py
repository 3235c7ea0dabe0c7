"""The last step: from the records of all shards to the manifest."""

from collections.abc import Callable
import time
from typing import TypeVar

import numpy as np

from interp_jax.store import zarr
from interp_jax.store.covariance import write_covariance
from interp_jax.store.errors import StoreError
from interp_jax.store.folder import Folder
from interp_jax.store.manifest import (
  MANIFEST,
  Manifest,
  read_manifest,
)
from interp_jax.store.progress import Progress, tidy
from interp_jax.store.records import read_records, recorded
from interp_jax.store.statistics import RunningStatistics

_T = TypeVar('_T')


def write_manifest(
  folder: Folder, progress: Progress, rows: int, timeout_s: float
) -> Manifest:
  """Finishes a dataset when all of its shards are recorded.

  Nothing that it writes depends on who wrote the shards, and it can be killed and
  repeated.

  Args:
    folder: The folder of the dataset.
    progress: What is being written.
    rows: Its number of rows.
    timeout_s: How long to wait for the shards of other processes.

  Returns:
    The manifest.

  Raises:
    StoreError: if a shard is not recorded in time, or something cannot be written.
  """
  schema = progress.schema
  shards = set(range(schema.shards(rows)))

  def missing() -> str | None:
    left = sorted(shards - recorded(folder))
    return f'shards {left[0]} to {left[-1]} of {len(shards)}' if left else None

  _wait(missing, timeout_s, f'Cannot finish {folder.path}')
  statistics, documents = _merge(folder, progress, sorted(shards))
  covariances = {}
  if progress.covariance:
    covariances = {
      name: write_covariance(folder, name, running.covariance())
      for name, running in statistics.items()
    }
  for part in schema.parts:
    content = zarr.metadata(schema, part, rows)
    folder.write_json(zarr.metadata_file(part), content)
  manifest = Manifest(
    rows=rows,
    schema=schema,
    statistics={name: running.result() for name, running in statistics.items()},
    covariances=covariances,
    documents=documents,
    description=progress.description,
    metadata=progress.metadata,
  )
  folder.write_json(MANIFEST, manifest.to_json())
  tidy(folder)
  return manifest


def await_manifest(folder: Folder, timeout_s: float) -> Manifest:
  """Waits until another process has finished the dataset.

  Raises:
    StoreError: if it does not in time.
  """

  def missing() -> str | None:
    return MANIFEST if folder.read(MANIFEST) is None else None

  _wait(missing, timeout_s, f'This process has written its part of {folder.path}')
  return read_manifest(folder)


def _merge(
  folder: Folder, progress: Progress, shards: list[int]
) -> tuple[dict[str, RunningStatistics], np.ndarray]:
  """The statistics of all shards in their order, and the documents of each."""
  total = {
    spec.name: RunningStatistics(spec.shape, covariance=progress.covariance)
    for spec in progress.schema.arrays
  }
  # Records with covariances are large.
  at_once = 1 if progress.covariance else 64
  documents = []
  for record in read_records(folder, progress.schema, shards, at_once):
    documents.append(record.documents)
    for name, running in record.statistics.items():
      total[name].merge(running)
  return total, np.asarray(documents, np.int64)


def _wait(missing: Callable[[], str | None], timeout_s: float, what: str) -> None:
  """Waits until nothing is missing."""
  end, pause = time.monotonic() + timeout_s, 0.02
  while (lacks := missing()) is not None:
    if time.monotonic() > end:
      raise StoreError(
        f'{what}, but after {timeout_s} s there is still no {lacks}. Run all processes '
        'again: each continues where it was.'
      )
    time.sleep(pause)
    pause = min(2 * pause, 1.0)
