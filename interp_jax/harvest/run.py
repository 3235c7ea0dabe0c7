"""The loop of a harvest: the model works while the disk does."""

from collections.abc import Iterator, Mapping
import os
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Bool, Int
import numpy as np
import tqdm

from interp_jax import sharding, store
from interp_jax.harvest.forward import Forward, Sites, make_forward
from interp_jax.harvest.identity import data_fingerprint, fingerprint
from interp_jax.harvest.rows import Batch, Sequences
from interp_jax.models import Transformer


def harvest(
  model: Transformer,
  params: dict[str, Any],
  tokens: Int[Array | np.ndarray, 'n T'],
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
  dtype: str = 'bfloat16',
  mesh: Mesh | None = None,
  description: str = '',
  metadata: Mapping[str, Any] | None = None,
  chunk_rows: int | None = None,
  shard_rows: int | None = None,
  progress: bool = True,
) -> store.Reader:
  """Writes the activations of a model on all tokens to a dataset.

  All sites and layers come from one pass. There is one row for each token that is kept,
  in the order of the tokens. Called again after it was killed, it continues with the
  first shard that is not complete; with the same batch size on the same devices the
  dataset is byte for byte that of a call that was never killed. When the dataset is
  finished, it is only opened.

  Args:
    model: The model.
    params: Its parameters; with a mesh, those that are not on it are replicated.
    tokens: Sequences of equal length, in memory or memory-mapped.
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
    dtype: In which to store: `'bfloat16'` (a relative error of up to 2^-9) or
      `'float32'`.
    mesh: Devices over whose `data` axis to split each batch; None for one device.
    description: For the manifest: where the tokens come from and what documents and
      positions count.
    metadata: For the manifest: e.g. names of model and tokenizer.
    chunk_rows: Rows of a chunk; see `store.make_schema`.
    shard_rows: Rows of a shard, likewise. A killed harvest repeats up to this many.
    progress: Whether to show a progress bar.

  Returns:
    A reader of the finished dataset.

  Raises:
    ValueError: if a site, a layer or a shape does not fit.
    StoreError: if the folder holds a dataset of other tokens, weights or settings, or
      cannot be written.
  """
  sequences = Sequences(
    tokens=np.asarray(tokens),
    mask=_host(mask),
    documents=_host(documents),
    positions=_host(positions),
    drop_first=drop_first,
  )
  forward = make_forward(model, params, sites, dtype, (batch_size, tokens.shape[1]))
  schema = store.make_schema(forward.arrays, chunk_rows, shard_rows)
  identity = {'harvest': _identity(model, forward, sequences), **(metadata or {})}
  try:
    writer = store.Writer(path, schema, description=description, metadata=identity)
  except store.FinishedError:
    return store.Reader(path)
  total = int(sequences.count().sum())
  with (
    writer,
    tqdm.tqdm(
      desc='harvest',
      total=total,
      initial=writer.rows,
      unit='tok',
      unit_scale=True,
      disable=not progress,
    ) as bar,
  ):
    for rows, provenance in _stream(forward, sequences, batch_size, writer.rows, mesh):
      writer.append(rows, provenance)
      bar.update(len(provenance))
  return store.Reader(path)


def _stream(
  forward: Forward, sequences: Sequences, batch_size: int, done: int, mesh: Mesh | None
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
  """Rows and provenance, batch by batch.

  The next batch is dispatched before the last one is fetched, so that the device has
  work while rows are copied and written.
  """
  params = forward.params if mesh is None else _on_mesh(mesh, forward.params)
  waiting: tuple[Batch, int, dict[str, jax.Array]] | None = None
  for batch, skip in sequences.batches(batch_size, done):
    inputs = (batch.tokens.astype(np.int32), batch.mask)
    if mesh is not None:
      inputs = sharding.shard_batch(mesh, inputs)
    acts = forward.run(params, *inputs)
    for act in acts.values():
      act.copy_to_host_async()
    if waiting is not None:
      yield _fetch(*waiting)
    waiting = (batch, skip, acts)
  if waiting is not None:
    yield _fetch(*waiting)


def _fetch(
  batch: Batch, skip: int, acts: Mapping[str, jax.Array]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
  rows = {name: np.asarray(act)[batch.keep][skip:] for name, act in acts.items()}
  return rows, batch.provenance[skip:]


def _on_mesh(mesh: Mesh, params: Any) -> Any:
  """Replicates the parameters that were not placed on the mesh."""

  def place(leaf: Any) -> Any:
    placed = getattr(leaf, 'sharding', None)
    if isinstance(placed, NamedSharding) and placed.mesh == mesh:
      return leaf
    return sharding.replicate(mesh, leaf)

  return jax.tree.map(place, params)


def _identity(
  model: Transformer, forward: Forward, sequences: Sequences
) -> dict[str, Any]:
  """What makes two harvests the same, and what a reader may want to know."""
  return {
    'config': model.cfg.to_dict(),
    'params': fingerprint(forward.params),
    'data': data_fingerprint(
      {
        'tokens': sequences.tokens,
        'mask': sequences.mask,
        'documents': sequences.documents,
        'positions': sequences.positions,
      }
    ),
    'sequences': list(sequences.tokens.shape),
    'drop_first': sequences.drop_first,
  }


def _host(array: Any) -> np.ndarray | None:
  return None if array is None else np.asarray(array)
