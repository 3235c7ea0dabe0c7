"""From documents and positions to rows."""

from jaxtyping import Int
import numpy as np

from interp_jax.store.arrays import StoredArray


def locate(
  provenance: StoredArray,
  shards: Int[np.ndarray, 'shards 2'],
  documents: Int[np.ndarray, 'n'],
  positions: Int[np.ndarray, 'n'],
) -> Int[np.ndarray, 'n']:
  """The row of each document and position, -1 where there is none.

  Only the provenance of shards that can hold one of the documents is read, a shard at
  a time; of several rows with the same document and position it is the first.

  Args:
    provenance: Document, position and token of every row.
    shards: First and last document, by number, of each shard.
    documents: What to look for.
    positions: In each of the documents.

  Returns:
    The indices of the rows.
  """
  found = np.full(len(documents), -1)
  wanted = _key(documents, positions)
  order = np.argsort(documents, kind='stable')
  ordered = documents[order]
  starts = np.searchsorted(ordered, shards[:, 0], 'left')
  stops = np.searchsorted(ordered, shards[:, 1], 'right')
  size = provenance.schema.shard_rows
  for shard in np.flatnonzero(starts < stops).tolist():
    asked = order[starts[shard] : stops[shard]]
    asked = asked[found[asked] < 0]
    if not asked.size:
      continue
    first = shard * size
    rows = provenance.read_slice(first, min(first + size, provenance.rows))
    place = _find(_key(rows[:, 0], rows[:, 1]), wanted[asked])
    pairs = np.stack([documents[asked], positions[asked]], axis=1)
    # Numbers that are no int32 may have the key of others.
    there = (place >= 0) & (rows[place, :2] == pairs).all(axis=1)
    found[asked] = np.where(there, first + place, -1)
  return found


def _key(documents: np.ndarray, positions: np.ndarray) -> np.ndarray:
  """One number for a document (int32) and a position (int32)."""
  return (documents.astype(np.int64) << 32) + positions.astype(np.int64)


def _find(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
  """The first index of each wanted key, -1 where there is none."""
  order = np.argsort(keys, kind='stable')
  place = np.searchsorted(keys[order], wanted).clip(max=len(keys) - 1)
  return np.where(keys[order[place]] == wanted, order[place], -1)
