"""Reading a finished dataset."""

from collections.abc import Callable, Sequence
import os
from typing import Any

from jaxtyping import Float, Int
import numpy as np

from interp_jax.core import unknown
from interp_jax.store.arrays import Damage, StoredArray, open_arrays
from interp_jax.store.batches import Batches, Order
from interp_jax.store.covariance import read_covariance
from interp_jax.store.errors import StoreError
from interp_jax.store.folder import Folder
from interp_jax.store.keep import Keep, Predicate
from interp_jax.store.locate import locate
from interp_jax.store.manifest import Manifest, read_manifest
from interp_jax.store.schema import PROVENANCE
from interp_jax.store.statistics import Statistics
from interp_jax.store.view import ArrayView

# One array's rows `[n, ...]`, or a dict of those of several by name.
Rows = Any


class Reader:
  """A finished dataset: `N` rows of one or more arrays, and where each comes from.

  Wherever `arrays` is asked for: a name stands for the rows of that array, a sequence
  of names for a dict of rows by name, and None for the one array of a dataset that
  has only one. `'provenance'` is a name too.

  Attributes:
    path: The folder, or the URL of the prefix of object storage.
    manifest: What the dataset says about itself.
    names: Names of its arrays of activations, e.g. `('resid_post.1',)`.
  """

  def __init__(self, path: str | os.PathLike):
    """Opens a dataset.

    Args:
      path: Its folder, or a URL: `s3://...`, `gs://...` or `file://...`.

    Raises:
      NotAStoreError: if the folder holds no dataset.
      UnfinishedError: if the dataset was never finished.
      FormatVersionError: if it was written in another version of the format.
      DamagedError: if its metadata is not what was written.
      StoreError: if it cannot be read.
    """
    self._folder = Folder(path)
    self.path = self._folder.path
    self.manifest: Manifest = read_manifest(self._folder)
    self.names = tuple(spec.name for spec in self.manifest.schema.arrays)
    self._arrays = open_arrays(self._folder, self.manifest)

  def __len__(self) -> int:
    return self.manifest.rows

  def __repr__(self) -> str:
    return f'Reader({str(self.path)!r}): {len(self)} rows of {", ".join(self.names)}'

  def rows(
    self, indices: Int[np.ndarray, 'n'] | Sequence[int], arrays: Any = None
  ) -> Rows:
    """Rows by their indices, in any order, repeated or not.

    Args:
      indices: Indices in `[0, N)`.
      arrays: Which arrays; see the class.

    Returns:
      `[n, ...]`, float32 for an 8-bit array.

    Raises:
      IndexError: if an index is out of range.
      DamagedError: if a chunk is damaged; it names the chunk.
    """
    indices = np.asarray(indices, np.int64).reshape(-1)
    if indices.size and not 0 <= indices.min() <= indices.max() < len(self):
      raise IndexError(
        f'Rows {indices.min()} to {indices.max()} were asked for; {self.path} has rows '
        f'0 to {len(self) - 1}.'
      )
    return self._select(arrays, lambda array: array.read_rows(indices))

  def provenance(
    self, indices: Int[np.ndarray, 'n'] | Sequence[int]
  ) -> Int[np.ndarray, 'n 3']:
    """Document, position and token id of rows, by their indices.

    Raises:
      IndexError, DamagedError: as `rows`.
    """
    return self.rows(indices, [PROVENANCE.name])[PROVENANCE.name]

  def locate(
    self,
    documents: Int[np.ndarray, 'n'] | Sequence[int],
    positions: Int[np.ndarray, 'n'] | Sequence[int],
  ) -> Int[np.ndarray, 'n']:
    """The rows of positions in documents, for `rows`.

        x = reader.rows(reader.locate([7, 7], [0, 12]))

    Args:
      documents: By number, as in the provenance.
      positions: One in each of them.

    Returns:
      The indices of the rows; -1 where there is none, e.g. since the harvest left the
      first token out.

    Raises:
      ValueError: if there are not as many documents as positions.
      DamagedError: if a chunk is damaged; it names the chunk.
    """
    documents = np.asarray(documents, np.int64).reshape(-1)
    positions = np.asarray(positions, np.int64).reshape(-1)
    if len(documents) != len(positions):
      raise ValueError(
        f'{len(documents)} documents need as many positions, not {len(positions)}.'
      )
    provenance = self._arrays[PROVENANCE.name]
    return locate(provenance, self.manifest.documents, documents, positions)

  def view(self, array: str | None = None) -> ArrayView:
    """An array under numpy's indexing, which reads what is indexed.

    Args:
      array: Its name; None for the one array of a dataset that has only one.
    """
    return ArrayView(self._arrays[self._check(array)])

  def numpy(self, arrays: Any = None, start: int = 0, stop: int | None = None) -> Rows:
    """Consecutive rows as plain numpy, by default all of them.

    Args:
      arrays: Which arrays; see the class.
      start: The first row.
      stop: The row after the last, cut at `N`; None for `N`.

    Returns:
      `[stop - start, ...]`, float32 for an 8-bit array.

    Raises:
      IndexError: if `start` is out of range.
      DamagedError: if a chunk is damaged; it names the chunk.
    """
    stop = len(self) if stop is None else min(stop, len(self))
    if not 0 <= start <= stop:
      raise IndexError(f'Rows {start} to {stop} of {len(self)} were asked for.')
    return self._select(arrays, lambda array: array.read_slice(start, stop))

  def stored(self, array: str | None = None) -> StoredArray:
    """An array as TensorStore has it, for what is not here.

    Args:
      array: Its name; None for the one array of a dataset that has only one.
    """
    return self._arrays[self._check(array)]

  def statistics(self, array: str | None = None) -> Statistics:
    """Mean, norms and variance of all rows of an array.

    Args:
      array: Its name; None for the one array of a dataset that has only one.
    """
    return self.manifest.statistics[self._check(array)]

  def covariance(self, array: str | None = None) -> Float[np.ndarray, 'D D']:
    """The covariance of the components of a row, flattened.

    Args:
      array: As for `statistics`.

    Raises:
      StoreError: if it was not gathered.
      DamagedError: if it is not what was written.
    """
    name = self._check(array)
    digest = self.manifest.covariances.get(name)
    if digest is None:
      raise StoreError(
        f'{self.path} has no covariance of {name!r}: write it with covariance=True.'
      )
    return read_covariance(self._folder, name, digest)

  def batches(
    self,
    batch_size: int,
    seed: int,
    epochs: int | None = None,
    *,
    arrays: Any = None,
    window_blocks: int = 64,
    process_index: int = 0,
    process_count: int = 1,
    keep: Keep | Predicate | None = None,
    drop_last: bool = False,
  ) -> Batches:
    """Shuffled batches, every row once per epoch. See `Batches`.

    Args:
      batch_size: Rows of a batch (of this process).
      seed: Of the order.
      epochs: How often to go through the dataset; None for ever.
      arrays: Which arrays; see the class.
      window_blocks: How many blocks (chunks of all arrays) are shuffled together in
        memory. About four windows are held at a time.
      process_index: Which slice to read, in `[0, process_count)`.
      process_count: Number of slices, which together have each row once per epoch.
      keep: Which rows to leave out; a function is the `where` of a `Keep`.
      drop_last: Whether to leave out a last batch that is not full. Together with
        `keep` and `epochs`, the whole provenance is read once to count what is kept.

    Returns:
      An iterator over `[batch_size, ...]`, float32 for an 8-bit array.

    Raises:
      ValueError: if an array is unknown, or a number makes no sense.
    """
    single = arrays is None or isinstance(arrays, str)
    chosen = self._select([self._check(arrays)] if single else arrays, lambda a: a)
    order = Order(
      rows=len(self),
      block_rows=self.manifest.schema.chunk_rows,
      window_blocks=window_blocks,
      seed=seed,
      process_index=process_index,
      process_count=process_count,
      keep=keep if keep is None or isinstance(keep, Keep) else Keep(where=keep),
    )
    return Batches(
      chosen,
      order,
      provenance=self._arrays[PROVENANCE.name],
      batch_size=batch_size,
      epochs=epochs,
      single=single,
      drop_last=drop_last,
    )

  def verify(self) -> list[Damage]:
    """Reads every chunk of every array.

    Returns:
      The chunks that are damaged or missing; an empty list for a sound dataset.

    Raises:
      DamagedError: if a covariance is not what was written.
      StoreError: if something cannot be read for another reason.
    """
    for name in self.manifest.covariances:
      self.covariance(name)
    schema, found = self.manifest.schema, []
    chunks = range(-(-len(self) // schema.chunk_rows))
    step = schema.shard_rows // schema.chunk_rows
    for array in self._arrays.values():
      for start in range(0, len(chunks), step):
        found += array.check(chunks[start : start + step])
    return found

  def _select(self, arrays: Any, of: Callable[[StoredArray], Any]) -> Any:
    """Applies a function to the array or arrays that were asked for."""
    if arrays is None or isinstance(arrays, str):
      return of(self._arrays[self._check(arrays)])
    return {name: of(self._arrays[self._check(name)]) for name in arrays}

  def _check(self, name: str | None) -> str:
    """The name of an array, checked; of the only one when none is given."""
    if name is None:
      if len(self.names) > 1:
        raise ValueError(f'Say which array: {self.path} has {", ".join(self.names)}.')
      return self.names[0]
    if name not in self._arrays:
      raise ValueError(unknown('array', name, self._arrays))
    return name
