"""Activation datasets: folders of arrays that are larger than memory.

A dataset is a folder, or a prefix of object storage: `s3://bucket/prefix` (an S3
server other than Amazon's is named by `AWS_ENDPOINT_URL`), `gs://bucket/prefix`.
`manifest.json`, written last, says what is in it; next to it lies one zarr3 array
`[N, ...]` for each site and layer, cut into checksummed chunks and those packed into
shards, and the array `provenance` `[N, 3]`: the document, the position and the token
id of each row, which lead back to its text.

    with Writer(path, make_schema([ArraySpec('resid_post', 1, (D,))])) as writer:
      writer.append({'resid_post.1': x}, provenance)

    reader = Reader(path)
    for x in reader.batches(4096, seed=0):
      ...

A writer can be killed at any moment and continues where it was, and several processes
can write one dataset; damaged chunks are named and never read as data; batches come in
a global random order whose position is a small dict. Any zarr3 reader can open the
arrays.
"""

from interp_jax.store.arrays import Damage
from interp_jax.store.batches import Batches
from interp_jax.store.device import BatchIterator, DeviceBatches
from interp_jax.store.errors import (
  DamagedError,
  FinishedError,
  FormatVersionError,
  NotAStoreError,
  StoreError,
  UnfinishedError,
)
from interp_jax.store.keep import Keep
from interp_jax.store.lanes import Lanes
from interp_jax.store.manifest import FORMAT_VERSION, Manifest
from interp_jax.store.mixture import Mixture
from interp_jax.store.reader import Reader
from interp_jax.store.schema import ArraySpec, Schema, make_schema
from interp_jax.store.statistics import RunningStatistics, Statistics
from interp_jax.store.view import ArrayView
from interp_jax.store.writer import Writer

__all__ = [
  'FORMAT_VERSION',
  'ArraySpec',
  'ArrayView',
  'BatchIterator',
  'Batches',
  'Damage',
  'DamagedError',
  'DeviceBatches',
  'FinishedError',
  'FormatVersionError',
  'Keep',
  'Lanes',
  'Manifest',
  'Mixture',
  'NotAStoreError',
  'Reader',
  'RunningStatistics',
  'Schema',
  'Statistics',
  'StoreError',
  'UnfinishedError',
  'Writer',
  'make_schema',
]
