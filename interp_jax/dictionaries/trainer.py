"""Training a dictionary: any wiring, activation and objective through one loop.

What is special to dictionaries is here (normalised inputs, idle counters, the unit-norm
decoder); loop, checkpoints, log and mesh are the `training` room's.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import os
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float
import numpy as np
import optax

from interp_jax import training
from interp_jax.core import unknown
from interp_jax.dictionaries import constraint, initial, kernels, metrics, objective
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.dictionary import Dictionary
from interp_jax.dictionaries.wiring import Codes, SparseCodes
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
class TrainerConfig:
  """How a dictionary is trained.

  Attributes:
    steps: Number of updates.
    batch_size: Examples of a batch, over all processes.
    learning_rate: Adam's, at the end of the warm-up.
    warmup: Share of the run over which the rate rises from 0.
    decay: Share of the run, at its end, over which the rate falls linearly to 0.
    b1: Adam's first decay.
    b2: Adam's second decay.
    eps: Adam's epsilon (6.25e-10 in Gao et al. 2024).
    clip: Largest norm of the gradient; 0 for no limit.
    terms: Terms of the objective, added to the squared error.
    unit_norm: Whether the decoder's rows have norm 1.
    center: What `b_dec` starts at, as in `initial.measure`.
    normalize: How inputs are scaled, as in `initial.measure`.
    seed: Of the initial directions.
    log_every: Steps between records of training metrics.
    eval_every: Steps between evaluations on held-out rows (0: at the end only).
    checkpoint_every: Steps between checkpoints (0: at the end only).
    impl: Which kernels to use, as in `kernels.resolve`.
  """

  steps: int
  batch_size: int = 2048
  learning_rate: float = 3e-3
  warmup: float = 0.05
  decay: float = 0.3
  b1: float = 0.9
  b2: float = 0.999
  eps: float = 6.25e-10
  clip: float = 0.0
  terms: tuple[objective.Term, ...] = (objective.AuxK(),)
  unit_norm: bool = True
  center: str = 'geometric_median'
  normalize: str = 'centered'
  seed: int = 0
  log_every: int = 50
  eval_every: int = 500
  checkpoint_every: int = 500
  impl: str = 'auto'

  def to_dict(self) -> dict[str, Any]:
    """As plain data, for JSON."""
    fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    return fields | {'terms': objective.terms_to_dict(self.terms)}

  @classmethod
  def from_dict(cls, data: Mapping[str, Any]) -> 'TrainerConfig':
    """The config that `to_dict` wrote, or of a configuration file.

    Raises:
      ValueError: if a field is unknown.
    """
    fields = [field.name for field in dataclasses.fields(cls)]
    for name in data:
      if name not in fields:
        raise ValueError(unknown('field of a trainer config', name, fields))
    given = dict(data)
    if isinstance(given.get('terms'), Mapping):
      given['terms'] = objective.terms_from_dict(given['terms'])
    return cls(**given)

  @property
  def settings(self) -> dict[str, Any]:
    """What the result depends on, for JSON: a resumed run must have the same."""
    free = ('log_every', 'eval_every', 'checkpoint_every', 'impl')
    return {key: value for key, value in self.to_dict().items() if key not in free}


@flax.struct.dataclass
class DictionaryState:
  """What changes from step to step, and the scale of the inputs.

  Attributes:
    step: int32 scalar, the number of updates made.
    params: Parameters for inputs times `scale`.
    opt_state: The optimiser's state.
    idle: `[F]` int32, examples since each feature was last active.
    scale: float32 scalar.
  """

  step: Any
  params: Any
  opt_state: Any
  idle: Any
  scale: Any


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


def make_optimizer(config: TrainerConfig) -> optax.GradientTransformation:
  """Adam with warm-up and linear decay, keeping the decoder's rows at norm 1."""
  schedule = training.warmup_stable_decay(
    config.learning_rate,
    config.steps,
    int(config.warmup * config.steps),
    int(config.decay * config.steps),
  )
  parts = [optax.adam(schedule, config.b1, config.b2, config.eps)]
  if config.clip:
    parts.insert(0, optax.clip_by_global_norm(config.clip))
  if config.unit_norm:
    parts = [constraint.project_gradient(), *parts, constraint.renormalize()]
  return optax.chain(*parts)


def init_state(
  config: DictionaryConfig, trainer: TrainerConfig, inputs: initial.InputScale
) -> DictionaryState:
  """The state before the first step."""
  params = initial.init_params(config, inputs, trainer.seed)
  opt_state = make_optimizer(trainer).init(params)
  idle = jnp.zeros(config.features, jnp.int32)
  scale = jnp.asarray(inputs.scale, jnp.float32)
  return DictionaryState(jnp.zeros((), jnp.int32), params, opt_state, idle, scale)


def fired(codes: Codes, features: int) -> Bool[Array, 'F']:
  """Which features are active anywhere in the batch."""
  if isinstance(codes, SparseCodes):
    quiet = jnp.zeros(features, bool)
    return quiet.at[codes.indices].max(codes.values > 0)
  return jnp.any(codes > 0, axis=0)


def count_idle(idle: Array, active: Array, examples: int) -> Array:
  """Counters after a batch: 0 where active, else `examples` more, never overflowing."""
  ceiling = np.iinfo(np.int32).max - examples
  return jnp.where(active, 0, jnp.minimum(idle, ceiling) + examples)


def make_step(
  config: DictionaryConfig,
  trainer: TrainerConfig,
  impl: str,
) -> training.StepFn:
  """The step, not yet compiled: `(state, batch [B, D]) -> (state, metrics)`.

  The metrics are of this batch: `loss` and its parts, `fvu` (against the batch's own
  mean), `l0`, and `dead_fraction` (features idle for `dead_after` of AuxK; else for a
  tenth of the run).
  """
  optimizer = make_optimizer(trainer)
  dead_after = dead_after_of(trainer)

  def loss_fn(params: Any, x: Array, state: DictionaryState) -> Any:
    forward = objective.run(config, params, x, state.idle, state.step, impl)
    total, parts = objective.loss(forward, trainer.terms)
    return total, (forward, parts)

  def step(state: DictionaryState, batch: Array) -> tuple[DictionaryState, dict]:
    x = batch.astype(jnp.float32) * state.scale
    gradient = jax.value_and_grad(loss_fn, has_aux=True)
    (total, (forward, parts)), grads = gradient(state.params, x, state)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    active = fired(forward.codes, config.features)
    idle = count_idle(state.idle, active, x.shape[0])
    logged = {
      'loss': total,
      **parts,
      'fvu': _batch_fvu(forward),
      'l0': _l0(forward.codes),
      'dead_fraction': jnp.mean(idle > dead_after),
    }
    return DictionaryState(state.step + 1, params, opt_state, idle, state.scale), logged

  return step


def dead_after_of(trainer: TrainerConfig) -> int:
  """Examples without activity after which a feature counts as dead."""
  for term in trainer.terms:
    if isinstance(term, objective.AuxK):
      return term.dead_after
  return max(1, trainer.steps * trainer.batch_size // 10)


def _batch_fvu(forward: objective.Forward) -> Float[Array, '']:
  centered = forward.targets - jnp.mean(forward.targets, 0)
  error = forward.targets - forward.outputs
  return jnp.sum(jnp.square(error)) / jnp.sum(jnp.square(centered))


def _l0(codes: Codes) -> Float[Array, '']:
  values = codes.values if isinstance(codes, SparseCodes) else codes
  return jnp.mean(jnp.sum(values > 0, -1).astype(jnp.float32))


def export(config: DictionaryConfig, state: DictionaryState) -> Dictionary:
  """The dictionary of a state, for raw activations: the scale folded into it."""
  params = config.wires.fold_scale(state.params, state.scale)
  return Dictionary(params, config)


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
