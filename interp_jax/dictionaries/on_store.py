"""Training on the rows of a dataset."""

from collections.abc import Mapping, Sequence
import os
from typing import Any

import numpy as np

from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.rows import Arranged, arrange
from interp_jax.dictionaries.settings import TrainerConfig
from interp_jax.dictionaries.sweep import train_sweep
from interp_jax.dictionaries.trainer import Rows, train
from interp_jax.sharding import data_share
from interp_jax.store import Lanes, Reader


def train_on_store(
  config: DictionaryConfig,
  trainer: TrainerConfig,
  reader: Reader,
  workdir: str | os.PathLike[str],
  *,
  inputs: Sequence[str] | str | None = None,
  targets: Sequence[str] | str = (),
  members: Sequence[Mapping[str, float | int]] | None = None,
  sample_rows: int = 16_384,
  lanes: int = 1,
  **options: Any,
) -> Any:
  """Trains on the rows of a dataset, shuffled anew in every epoch.

  Several processes take the batches that one would take, each its own rows of them.

  Args:
    config: What the dictionary computes.
    trainer: How it is trained; its seed is also that of the order of rows.
    reader: The dataset.
    workdir: As in `train`.
    inputs: Which arrays of the dataset it reads: several for crosscoders and
      cross-layer transcoders, in the order of sources or layers; None for the only one.
    targets: Which arrays it writes, where they are not those that it reads.
    members: What the members of a sweep differ in, for `train_sweep`; None for one
      dictionary.
    sample_rows: How many rows, spread over the dataset, to measure the centre and the
      scale on.
    lanes: In how many streams to read, see `store.Lanes`: a multiple of the processes
      spares each of them the rows of the others. Other lanes give other batches.
    **options: Further arguments of `train` or `train_sweep`.

  Returns:
    As `train`, or `train_sweep`.

  Raises:
    ValueError: as `train`, and if the batch does not divide over lanes or processes.
  """
  inputs, targets = array_names(reader, inputs, targets)
  share = data_share(options.get('mesh'))
  batches = Lanes(
    reader,
    trainer.batch_size,
    trainer.seed,
    lanes,
    arrays=(*inputs, *targets),
    process_index=share.index,
    process_count=share.count,
  )
  try:
    sample = sample_of(reader, sample_rows, inputs, targets)
    arranged = Arranged(batches, inputs, targets)
    if members is None:
      return train(config, trainer, arranged, sample, workdir, **options)
    return train_sweep(config, trainer, members, arranged, sample, workdir, **options)
  finally:
    batches.close()


def array_names(
  reader: Reader, inputs: Sequence[str] | str | None, targets: Sequence[str] | str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
  """Names of arrays as tuples.

  Raises:
    ValueError: if no input is named and the dataset has several arrays.
  """
  as_names = lambda given: (given,) if isinstance(given, str) else tuple(given)
  if inputs is None:
    if len(reader.names) > 1:
      raise ValueError(
        f'The dataset has the arrays {list(reader.names)}: name those that the '
        'dictionary reads (inputs) and writes (targets).'
      )
    inputs = reader.names
  return as_names(inputs), as_names(targets)


def sample_of(
  reader: Reader,
  rows: int,
  inputs: Sequence[str] | str | None = None,
  targets: Sequence[str] | str = (),
  pieces: int = 16,
) -> Rows:
  """Some rows from all over a dataset, float32: `pieces` runs of neighbours.

  Args:
    reader: The dataset.
    rows: How many rows.
    inputs: As in `train_on_store`.
    targets: As in `train_on_store`.
    pieces: How many runs.
  """
  inputs, targets = array_names(reader, inputs, targets)
  taken = {name: _some(reader, rows, name, pieces) for name in (*inputs, *targets)}
  return arrange(taken, inputs, targets)


def _some(reader: Reader, rows: int, array: str, pieces: int) -> np.ndarray:
  total = len(reader)
  if rows >= total:
    return np.asarray(reader.numpy(array), np.float32)
  size = max(rows // pieces, 1)
  starts = np.linspace(0, total - size, min(pieces, rows)).astype(int)
  parts = [reader.numpy(array, int(s), int(s) + size) for s in starts]
  return np.concatenate(parts).astype(np.float32)
