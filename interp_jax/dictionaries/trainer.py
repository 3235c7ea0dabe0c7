"""Training a dictionary: any wiring, activation and objective through one loop.

Loop, checkpoints, log and mesh are the `training` room's; the step is `step`'s.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import os
from typing import Any

import jax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
import numpy as np

from interp_jax import training
from interp_jax.dictionaries import combinations, initial, kernels, metrics
from interp_jax.dictionaries.activation import Plan
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.dictionary import Dictionary
from interp_jax.dictionaries.settings import TrainerConfig
from interp_jax.dictionaries.step import (
  DictionaryState,
  export,
  init_state,
  make_step,
)
from interp_jax.dictionaries.wiring import Autoencoder
from interp_jax.sharding import (
  DATA,
  MODEL,
  Rules,
  replicate,
  shard_batch,
  shardings,
  to_host,
)

# Inputs that are their own targets, or a mapping with `inputs` and `targets`.
Rows = Any


def dictionary_rules(config: DictionaryConfig) -> Rules:
  """How a state is laid out: features are split over `model`, what is small is not.

  The table places the parameters by themselves, too, and every optimiser's state. Codes
  are split like the features, so that a step sums the outputs over `model` and the
  gradients over `data`. The skip connection is split along its inputs, and adds to the
  sum of the outputs.

  Args:
    config: The dictionary's.
  """
  before = [None] * (len(config.in_shape) - 1)
  codes = P(*[None] * (len(config.code_shape) - 1), MODEL)
  return (
    (r'(^|/)W_enc$', P(*before, None, MODEL)),  # [*in, F]
    (r'(^|/)W_dec(/\d+)?$', P(MODEL)),  # [F, *out]
    (r'(^|/)W_skip$', P(*before, MODEL)),  # [*in, O]
    (r'(^|/)(b_enc|b_gate|b_mag|r_mag|threshold|idle)$', codes),  # [*C]
    (r'(^|/)b_dec$', P()),  # [*out]
    (r'^scale/(inputs|outputs)$', P()),  # One number, or one for each source.
    (r'^terms/', P()),  # Some numbers.
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
  sample: Rows,
  workdir: str | os.PathLike[str],
  *,
  held_out: Rows | None = None,
  mesh: Mesh | None = None,
  sinks: Sequence[training.Sink] = (),
  progress: bool = True,
) -> TrainResult:
  """Trains a dictionary, or goes on from the checkpoint in `workdir`.

  A resumed run ends with the same bits as one never stopped, and with the same numbers
  up to rounding where it goes on on another mesh.

  Args:
    config: What the dictionary computes.
    trainer: How it is trained.
    batches: Endless iterator of raw activations `[B, *in]`, or of mappings with
      `inputs` and `targets`, whose position can be saved (`ArrayBatches`,
      `store.Batches`, `Arranged`, `harvest.stream`).
    sample: Some thousands of raw rows, for centre and scale: inputs, or a mapping with
      `inputs` and `targets`.
    workdir: Folder for checkpoints and `metrics.jsonl`.
    held_out: Rows to evaluate on, as `sample`.
    mesh: Devices: the batch is split over `data`, the features over `model`. None for
      one device.
    sinks: What metrics go to beside `metrics.jsonl`.
    progress: Whether to show a progress bar.

  Returns:
    The dictionary and what it scores.

  Raises:
    ValueError: if the parts do not make sense together, the sample is not of the
      config's shape, a size does not divide over the mesh, or `workdir` holds another
      run's checkpoint.
    DivergedError: if a metric is not finite.
  """
  combinations.check(config, trainer)
  scale, rows = measured(config, trainer, sample)
  state = init_state(config, trainer, scale, sample=rows)
  layout = layout_of(config, state, mesh)
  if mesh is not None:
    state = jax.device_put(state, layout)
  result = training.fit(
    state,
    compiled_step(config, trainer, state, mesh),
    batches,
    loop_config(trainer),
    workdir,
    evaluate=evaluator(config, held_out, mesh),
    place=functools.partial(training.place_batch, mesh=mesh),
    notes={'dictionary': config.to_dict(), 'trainer': trainer.settings},
    sinks=sinks,
    progress=progress,
  )
  return result_of(config, result, held_out, mesh)


def layout_of(config: DictionaryConfig, state: Any, mesh: Mesh | None) -> Any:
  """The sharding of every leaf of a state, or of its shapes; None without a mesh."""
  return None if mesh is None else shardings(mesh, dictionary_rules(config), state)


def compiled_step(
  config: DictionaryConfig, trainer: TrainerConfig, state: Any, mesh: Mesh | None
) -> training.StepFn:
  """The step that `train` runs, under `jax.jit`.

  Args:
    config: The dictionary's.
    trainer: How it is trained.
    state: The first state, or its shapes.
    mesh: Devices, as in `train`.
  """
  step = make_step(config, trainer, plan_of(trainer, mesh))
  return training.compile_step(step, mesh, layout_of(config, state, mesh))


def state_shapes(config: DictionaryConfig, trainer: TrainerConfig) -> DictionaryState:
  """A state as shapes: to compile for devices that are elsewhere, or not there.

  Args:
    config: The dictionary's.
    trainer: How it is trained.
  """
  factors = np.ones((*config.in_shape[:-1], 1), np.float32)
  centers = np.zeros(config.out_shape), np.zeros(config.in_shape)
  scale = initial.InputScale(factors, factors, *centers, 1.0)
  trainer = dataclasses.replace(trainer, init=initial.Init())
  return jax.eval_shape(lambda: init_state(config, trainer, scale))


def measured(
  config: DictionaryConfig, trainer: TrainerConfig, sample: Rows
) -> tuple[initial.InputScale, dict[str, np.ndarray]]:
  """The scale of a sample, checked, and its inputs and targets."""
  check_rows(config, sample, 'sample')
  inputs, targets = as_pair(sample)
  scale = initial.measure(inputs, trainer.center, trainer.normalize, targets)
  is_autoencoder = isinstance(config.wiring, Autoencoder)
  if is_autoencoder and not np.array_equal(scale.inputs, scale.outputs):
    raise ValueError(
      'An autoencoder writes what it reads, and the targets of the sample have another '
      f'scale than the inputs: {scale.outputs} and {scale.inputs}. Give no targets, or '
      'use the wiring Transcoder.'
    )
  return scale, {'inputs': inputs, 'targets': inputs if targets is None else targets}


def result_of(
  config: DictionaryConfig,
  fitted: training.FitResult,
  held_out: Rows | None,
  mesh: Mesh | None,
) -> TrainResult:
  """What a run ended with."""
  dictionary = export(config, fitted.state)
  scores = fitted.evaluation
  if scores is None:
    scores = {} if held_out is None else score(dictionary, held_out, mesh)
  return TrainResult(
    usable_alone(dictionary), fitted.state, scores, fitted.finished, fitted.seconds
  )


def usable_alone(dictionary: Dictionary) -> Dictionary:
  """A dictionary that each of several processes can save, measure and use by itself."""
  return dictionary if jax.process_count() == 1 else to_host(dictionary)


def plan_of(trainer: TrainerConfig, mesh: Mesh | None) -> Plan:
  """How the steps are computed on some devices; a mesh of one is none."""
  alone = mesh is None or mesh.size == 1
  platform = None if mesh is None else mesh.devices.flat[0].platform
  impl = kernels.resolve(trainer.impl, platform=platform)
  return Plan(impl, None if alone else mesh)


def loop_config(trainer: TrainerConfig) -> training.LoopConfig:
  """Lengths and intervals of the loop, and what its progress bar shows."""
  return training.LoopConfig(
    steps=trainer.steps,
    log_every=trainer.log_every,
    eval_every=trainer.eval_every,
    checkpoint_every=trainer.checkpoint_every,
    units_per_step=trainer.batch_size,
    unit='examples',
    show=('loss', 'l0', 'fvu', 'dead_fraction'),
  )


def score(
  dictionary: Dictionary, rows: Rows, mesh: Mesh | None = None
) -> dict[str, float | int]:
  """The metrics of a dictionary on rows that are in memory.

  Args:
    dictionary: The dictionary; on a mesh it may lie on the devices of all processes.
    rows: Inputs, or a mapping with `inputs` and `targets`; the same in each process.
    mesh: Where the dictionary lies.
  """
  inputs, targets = as_pair(rows)
  split = lambda given: (_spread(mesh, part) for part in metrics.split(given))
  batches = split(inputs)
  if targets is not None:
    batches = zip(batches, split(targets), strict=True)
  return metrics.evaluate(dictionary, batches).to_dict()


def _spread(mesh: Mesh | None, rows: Any) -> Any:
  """Rows on a mesh; on every device where `data` does not divide them."""
  if mesh is None:
    return rows
  if len(rows) % mesh.shape[DATA]:
    return replicate(mesh, rows)
  return shard_batch(mesh, rows, whole=True)


def evaluator(
  config: DictionaryConfig, held_out: Rows | None, mesh: Mesh | None = None
) -> Callable[[Any], dict[str, float | int]] | None:
  """Held-out rows → state → metrics; None where there are no rows."""
  if held_out is None:
    return None
  check_rows(config, held_out, 'held_out')
  return lambda state: score(export(config, state), held_out, mesh)


def as_pair(rows: Rows) -> tuple[np.ndarray, np.ndarray | None]:
  """Inputs and targets; None for targets that are the inputs."""
  if isinstance(rows, Mapping):
    return rows['inputs'], rows.get('targets')
  return rows, None


def check_rows(config: DictionaryConfig, rows: Rows, name: str) -> None:
  """Raises ValueError unless rows have the shapes that the dictionary is for."""
  inputs, targets = as_pair(rows)
  if targets is None and not config.wiring.reconstructs:
    raise ValueError(
      f'{name} has no targets, and a {config.wiring.name} dictionary writes what it '
      "does not read. Give {'inputs': ..., 'targets': ...}."
    )
  for kind, given, shape in (
    ('inputs', inputs, config.in_shape),
    ('targets', inputs if targets is None else targets, config.out_shape),
  ):
    if given.shape[1:] != shape or len(given) < 2:
      raise ValueError(
        f'{name}: the {kind} have shape {given.shape}; this dictionary needs '
        f'[N, {", ".join(map(str, shape))}] with N at least 2.'
      )
