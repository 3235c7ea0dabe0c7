"""Training a dictionary: any wiring, activation and objective through one loop.

Loop, checkpoints, log and mesh are the `training` room's; the step is `step`'s.
"""

from collections.abc import Callable
import dataclasses
import functools
import os
from typing import Any

import jax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Float
import numpy as np

from interp_jax import training
from interp_jax.dictionaries import initial, kernels, metrics
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.dictionary import Dictionary
from interp_jax.dictionaries.settings import TrainerConfig
from interp_jax.dictionaries.step import (
  DictionaryState,
  export,
  init_state,
  make_step,
)
from interp_jax.sharding import MODEL, Rules, shardings
from interp_jax.store import Reader

# Features are split over `model`, everything of width D only is on every device.
DICTIONARY_RULES: Rules = (
  (r'(^|/)W_enc$', P(None, MODEL)),  # [D, F]
  (r'(^|/)b_enc$', P(MODEL)),  # [F]
  (r'(^|/)W_dec$', P(MODEL, None)),  # [F, D]
  (r'(^|/)b_dec$', P()),  # [D]
  (r'(^|/)idle$', P(MODEL)),  # [F]
)


@dataclasses.dataclass(frozen=True)
class TrainResult:
  """A trained dictionary.

  Attributes:
    dictionary: Reads raw activations.
    state: The state at the end.
    metrics: Of the held-out rows, by name; empty where there are none.
    finished: Whether the run reached its last step (else a signal ended it).
    seconds: Time in this call.
  """

  dictionary: Dictionary
  state: DictionaryState
  metrics: dict[str, float | int]
  finished: bool
  seconds: float


def train(
  config: DictionaryConfig,
  trainer: TrainerConfig,
  batches: training.BatchIterator,
  sample: Float[np.ndarray, 'N D'],
  workdir: str | os.PathLike[str],
  *,
  held_out: Float[np.ndarray, 'M D'] | None = None,
  mesh: Mesh | None = None,
  progress: bool = True,
) -> TrainResult:
  """Trains a dictionary, or goes on from the checkpoint in `workdir`.

  A resumed run ends with the same bits as one never stopped.

  Args:
    config: What the dictionary computes.
    trainer: How it is trained.
    batches: Endless iterator of raw activations `[B, D]`, whose position can be saved
      (`ArrayBatches`, `store.Batches`).
    sample: Some thousands of raw rows, for centre and scale.
    workdir: Folder for checkpoints and `metrics.jsonl`.
    held_out: Rows to evaluate on.
    mesh: Devices: the batch is split over `data`, the features over `model`. None for
      one device.
    progress: Whether to show a progress bar.

  Returns:
    The dictionary and what it scores.

  Raises:
    ValueError: if the sample's width is not the config's, a size does not divide over
      the mesh, or `workdir` holds another run's checkpoint.
    DivergedError: if a metric is not finite.
  """
  _check_width(config, sample, 'sample')
  inputs = initial.measure(sample, trainer.center, trainer.normalize)
  state = init_state(config, trainer, inputs)
  impl = kernels.resolve(trainer.impl, 1 if mesh is None else mesh.size)
  step = make_step(config, trainer, impl)
  layout = None
  if mesh is not None:
    layout = shardings(mesh, DICTIONARY_RULES, state)
    state = jax.device_put(state, layout)
  result = training.fit(
    state,
    training.compile_step(step, mesh, layout),
    batches,
    _loop(trainer),
    workdir,
    evaluate=_evaluator(config, held_out),
    place=functools.partial(training.place_batch, mesh=mesh),
    notes={'dictionary': config.to_dict(), 'trainer': trainer.settings},
    progress=progress,
  )
  dictionary = export(config, result.state)
  scores = {}
  if held_out is not None:
    scores = metrics.evaluate(dictionary, metrics.split(held_out)).to_dict()
  return TrainResult(dictionary, result.state, scores, result.finished, result.seconds)


def train_on_store(
  config: DictionaryConfig,
  trainer: TrainerConfig,
  reader: Reader,
  workdir: str | os.PathLike[str],
  *,
  array: str | None = None,
  held_out: Float[np.ndarray, 'M D'] | None = None,
  sample_rows: int = 16_384,
  mesh: Mesh | None = None,
  progress: bool = True,
) -> TrainResult:
  """Trains on the rows of a dataset, shuffled anew in every epoch.

  Args:
    config: What the dictionary computes.
    trainer: How it is trained; its seed is also that of the order of rows.
    reader: The dataset.
    workdir: As in `train`.
    array: Which array of the dataset; None for its only one.
    held_out: As in `train`.
    sample_rows: How many rows, spread over the dataset, to measure the centre and the
      scale on.
    mesh: As in `train`.
    progress: As in `train`.

  Returns:
    As `train`.

  Raises:
    ValueError: as `train`, and if the batch does not divide over the processes.
  """
  processes = jax.process_count()
  if trainer.batch_size % processes:
    raise ValueError(
      f'batch_size={trainer.batch_size} does not divide over {processes} processes.'
    )
  batches = reader.batches(
    trainer.batch_size // processes,
    trainer.seed,
    arrays=array,
    process_index=jax.process_index(),
    process_count=processes,
  )
  try:
    sample = sample_of(reader, sample_rows, array)
    return train(
      config,
      trainer,
      batches,
      sample,
      workdir,
      held_out=held_out,
      mesh=mesh,
      progress=progress,
    )
  finally:
    batches.close()


def sample_of(
  reader: Reader, rows: int, array: str | None = None, pieces: int = 16
) -> Float[np.ndarray, 'N D']:
  """Some rows from all over a dataset, float32: `pieces` runs of neighbours."""
  total = len(reader)
  if rows >= total:
    return np.asarray(reader.numpy(array), np.float32)
  size = max(rows // pieces, 1)
  starts = np.linspace(0, total - size, min(pieces, rows)).astype(int)
  parts = [reader.numpy(array, int(s), int(s) + size) for s in starts]
  return np.concatenate(parts).astype(np.float32)


def _loop(trainer: TrainerConfig) -> training.LoopConfig:
  return training.LoopConfig(
    steps=trainer.steps,
    log_every=trainer.log_every,
    eval_every=trainer.eval_every,
    checkpoint_every=trainer.checkpoint_every,
    units_per_step=trainer.batch_size,
    unit='examples',
  )


def _evaluator(
  config: DictionaryConfig, held_out: np.ndarray | None
) -> Callable[[Any], dict[str, float | int]] | None:
  if held_out is None:
    return None
  _check_width(config, held_out, 'held_out')

  def evaluate(state: DictionaryState) -> dict[str, float | int]:
    scored = metrics.evaluate(export(config, state), metrics.split(held_out))
    return scored.to_dict()

  return evaluate


def _check_width(config: DictionaryConfig, rows: np.ndarray, name: str) -> None:
  if rows.ndim != 2 or rows.shape[1] != config.width or len(rows) < 2:
    raise ValueError(
      f'{name} has shape {rows.shape}; a dictionary of width {config.width} needs '
      f'[N, {config.width}] with N at least 2.'
    )
