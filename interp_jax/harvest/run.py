"""The loop of a harvest: the model works while rows are copied and written."""

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping
import os
from typing import Any

import jax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Int, Integer
import numpy as np
import tqdm

from interp_jax import store
from interp_jax.harvest import placement
from interp_jax.harvest.errors import Stopped
from interp_jax.harvest.forward import Forward, Sites, make_forward
from interp_jax.harvest.identity import identity
from interp_jax.harvest.rows import Batch, Sequences, as_sequences
from interp_jax.models import Transformer

# Batches that are dispatched before the oldest is fetched. One keeps the device busy
# while the host copies; the second while it waits a moment for the writer.
_AHEAD = 2


def harvest(
  model: Transformer,
  params: dict[str, Any],
  tokens: Integer[Array | np.ndarray, 'n T'] | Sequences,
  path: str | os.PathLike,
  *,
  sites: Sites,
  batch_size: int = 32,
  drop_first: int = 1,
  mask: Bool[Array | np.ndarray, 'n T'] | None = None,
  documents: Int[Array | np.ndarray, 'n']
  | Int[Array | np.ndarray, 'n T']
  | None = None,
  positions: Int[Array | np.ndarray, 'n T'] | None = None,
  heads: Mapping[str, Iterable[int]] | None = None,
  flat: bool = False,
  dtype: str = 'bfloat16',
  compute_dtype: str | None = None,
  mesh: Mesh | None = None,
  description: str = '',
  metadata: Mapping[str, Any] | None = None,
  chunk_rows: int | None = None,
  shard_rows: int | None = None,
  covariance: bool = False,
  process_index: int | None = None,
  process_count: int | None = None,
  should_stop: Callable[[], bool] = lambda: False,
  progress: bool = True,
) -> store.Reader:
  """Writes the activations of a model on all tokens to a dataset.

  All sites and layers come from one pass. There is one row for each token that is kept,
  in the order of the tokens. Called again after it was killed, it continues with the
  first shard that is not complete; with the same batch size on the same devices the
  dataset is byte for byte that of a call that was never killed. When the dataset is
  finished, it is only opened.

  With several processes each calls it, with the same arguments but for a mesh of its
  own devices, and each runs the model on the tokens of its own shards. The dataset is
  byte for byte that of one process with as many devices as each of them has.

  Args:
    model: The model.
    params: Its parameters; with a mesh, those that are not on it are replicated.
    tokens: Sequences of equal length, in memory or memory-mapped; or `Sequences`, as
      a corpus has them, which bring mask, documents and positions along.
    path: Folder of the dataset.
    sites: Site → layers, e.g. `{'resid_post': (1, 2), 'embed': None}`.
    batch_size: Sequences of a batch, a multiple of the mesh's `data` axis.
    drop_first: How many tokens at the start of each sequence give no row. The default
      leaves out the first: as a BOS, and as the sink of attention that any first token
      becomes, it has a norm unlike all others.
    mask: False at padding, which gives no rows.
    documents: Document of each sequence, or of each token where sequences are packed,
      for the provenance; None for the index of the sequence.
    positions: Position of each token in its document; None for that in the sequence.
    heads: Site → which of its heads, e.g. `{'z': (3,)}`; sites that are not named
      have all.
    flat: Whether rows of several axes become vectors: `z` of `[H, K]` of `[H * K]`, a
      single head's `[1, K]` of `[K]`.
    dtype: In which to store: `'bfloat16'` (a relative error of up to 2^-9),
      `'float32'`, or what else `store.ArraySpec` takes.
    compute_dtype: Dtype of the parameters and of the matrix products; None for that
      of the model.
    mesh: Devices of this process over whose `data` axis to split each batch; None for
      one device.
    description: For the manifest: where the tokens come from and what documents and
      positions count.
    metadata: For the manifest: e.g. names of model and tokenizer.
    chunk_rows: Rows of a chunk; see `store.make_schema`.
    shard_rows: Rows of a shard, likewise. A killed harvest repeats up to this many.
    covariance: Whether the dataset's statistics have the covariance of each array.
    process_index: Which process this is; None for jax's.
    process_count: Of how many; None for jax's.
    should_stop: Asked after every batch; True ends the harvest behind the last
      complete shard.
    progress: Whether to show a progress bar: tokens, bytes, rate and time left.

  Returns:
    A reader of the finished dataset.

  Raises:
    Stopped: if it was told to stop.
    ValueError: if a site, a layer, a head or a shape does not fit.
    StoreError: if the folder holds a dataset of other tokens, weights or settings, or
      cannot be written.
  """
  given = as_sequences(tokens, mask, documents, positions, drop_first)
  given.check_vocabulary(model.cfg.vocab_size)
  placement.check_local(mesh)
  placement.check_divides(mesh, batch_size)
  forward = make_forward(
    model,
    params,
    sites,
    dtype,
    (batch_size, given.tokens.shape[1]),
    heads=heads,
    flat=flat,
    compute_dtype=compute_dtype,
  )
  who = identity(model, forward, given, heads, flat, compute_dtype)
  try:
    writer = store.Writer(
      path,
      store.make_schema(forward.specs, chunk_rows, shard_rows),
      description=description,
      metadata={'harvest': who, **(metadata or {})},
      covariance=covariance,
      total_rows=int(given.count().sum()),
      process_index=jax.process_index() if process_index is None else process_index,
      process_count=jax.process_count() if process_count is None else process_count,
    )
  except store.FinishedError:
    return store.Reader(path)
  bar = _bar(forward, writer, progress)
  with writer, bar:
    for rows, provenance in _stream(forward, given, batch_size, writer, mesh):
      writer.append(rows, provenance)
      bar.update(len(provenance))
      if should_stop():
        raise Stopped(f'harvested rows up to {writer.rows} of {path}')
  return store.Reader(path)


def _stream(
  forward: Forward,
  sequences: Sequences,
  batch_size: int,
  writer: store.Writer,
  mesh: Mesh | None,
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
  """The rows that a writer still wants and their provenance, batch by batch."""
  forward = forward.on(mesh)
  waiting: collections.deque[tuple] = collections.deque()
  for batch, part in sequences.batches(batch_size, writer.rows, writer.stop):
    inputs = placement.inputs(mesh, batch.tokens, batch.mask)
    acts = forward.run(forward.params, *inputs)
    for act in acts.values():
      act.copy_to_host_async()
    waiting.append((batch, part, acts))
    if len(waiting) > _AHEAD:
      yield _fetch(*waiting.popleft())
  while waiting:
    yield _fetch(*waiting.popleft())


def _fetch(
  batch: Batch, part: slice, acts: Mapping[str, jax.Array]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
  rows = {name: np.asarray(act)[batch.keep][part] for name, act in acts.items()}
  return rows, batch.provenance[part]


class _Bar(tqdm.tqdm):
  """A bar that counts tokens and shows the bytes that they make as well."""

  def __init__(self, row_bytes: int, **options: Any):
    self._row_bytes = row_bytes
    super().__init__(**options)

  @property
  def format_dict(self) -> dict[str, Any]:
    written = self.format_sizeof(self.n * self._row_bytes, 'B', 1000)
    return {**super().format_dict, 'postfix': written}


def _bar(forward: Forward, writer: store.Writer, progress: bool) -> tqdm.tqdm:
  return _Bar(
    sum(spec.row_bytes for spec in forward.specs),
    desc='harvest',
    total=writer.stop,
    initial=writer.rows,
    unit='tok',
    unit_scale=True,
    disable=not progress,
  )
