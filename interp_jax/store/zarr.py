"""The zarr3 arrays of a dataset, by TensorStore."""

from typing import Any

import tensorstore as ts

from interp_jax.store.folder import Folder, explained
from interp_jax.store.schema import Part, Schema

# The first axis of an array that is still being written. A chunk that was never
# written takes no space, so the number only has to be larger than any dataset.
UNBOUNDED = 2**40


def metadata_file(part: Part) -> str:
  """The name of an array's zarr.json in the folder of the dataset."""
  return f'{part.name}/zarr.json'


def metadata(schema: Schema, part: Part, rows: int) -> dict[str, Any]:
  """The zarr.json of one array.

  We write it ourselves: it is the same on every version of TensorStore, and it can be
  compared with the manifest to notice damage.

  Args:
    schema: Sizes of chunks and shards.
    part: The array.
    rows: Number of rows, `UNBOUNDED` while the dataset is being written.

  Returns:
    The metadata as plain data.
  """
  checked = [
    {'name': 'bytes', 'configuration': {'endian': 'little'}},
    {'name': 'crc32c'},
  ]
  shard = {
    'chunk_shape': [schema.chunk_rows, *part.shape],
    'codecs': checked,
    'index_codecs': checked,
    'index_location': 'end',
  }
  return {
    'zarr_format': 3,
    'node_type': 'array',
    'shape': [rows, *part.shape],
    'data_type': part.dtype,
    'fill_value': 0,
    'chunk_grid': {
      'name': 'regular',
      'configuration': {'chunk_shape': [schema.shard_rows, *part.shape]},
    },
    'chunk_key_encoding': {'name': 'default', 'configuration': {'separator': '/'}},
    'codecs': [{'name': 'sharding_indexed', 'configuration': shard}],
  }


def open_array(
  folder: Folder, schema: Schema, part: Part, rows: int | None = None
) -> Any:
  """Opens one array as a TensorStore.

  Its zarr.json is neither read nor written here: several processes write one dataset,
  and only the one that finishes it says how long the arrays are. A chunk that was
  written is always stored, zeros or not, so that a missing one is an error and never
  read as zeros.

  Args:
    folder: The folder of the dataset.
    schema: Sizes of chunks and shards.
    part: The array.
    rows: Its rows; None to open it for writing.

  Returns:
    A `tensorstore.TensorStore`, indexed `[N, ...]`.

  Raises:
    StoreError: if it cannot be opened.
  """
  write = rows is None
  missing = (
    {'store_data_equal_to_fill_value': True}
    if write
    else {'fill_missing_data_reads': False}
  )
  spec = {
    'driver': 'zarr3',
    'kvstore': folder.spec | {'path': f'{folder.spec["path"]}{part.name}/'},
    'metadata': metadata(schema, part, UNBOUNDED if rows is None else rows),
    'recheck_cached_data': 'open',
    **missing,
  }
  with explained(f'open {folder.where(part.name)}'):
    opened = ts.open(
      spec,
      open=True,
      assume_metadata=True,
      read=not write,
      write=write,
      context=folder.context,
    )
    return opened.result()
