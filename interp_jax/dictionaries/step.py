"""One step of training: what changes, how it is updated and what is logged of it."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
import numpy as np
import optax

from interp_jax import training
from interp_jax.dictionaries import constraint, initial, objective
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.dictionary import Dictionary
from interp_jax.dictionaries.settings import TrainerConfig
from interp_jax.dictionaries.wiring import Codes, SparseCodes


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


def make_optimizer(config: TrainerConfig) -> optax.GradientTransformation:
  """Adam with warm-up and linear decay, keeping the decoder's rows at norm 1."""
  schedule = training.warmup_stable_decay(
    config.learning_rate,
    config.steps,
    int(config.warmup * config.steps),
    int(config.decay * config.steps),
  )
  adam = optax.adam(schedule, config.b1, config.b2, config.eps)
  clip = optax.clip_by_global_norm(config.clip) if config.clip else optax.identity()
  if not config.unit_norm:
    return optax.chain(clip, adam)
  return optax.chain(
    constraint.project_gradient(), clip, adam, constraint.renormalize()
  )


def init_state(
  config: DictionaryConfig, trainer: TrainerConfig, inputs: initial.InputScale
) -> DictionaryState:
  """The state before the first step."""
  params = initial.init_params(config, inputs, trainer.seed)
  opt_state = make_optimizer(trainer).init(params)
  idle = jnp.zeros(config.features, jnp.int32)
  scale = jnp.asarray(inputs.scale, jnp.float32)
  return DictionaryState(jnp.zeros((), jnp.int32), params, opt_state, idle, scale)


def export(config: DictionaryConfig, state: DictionaryState) -> Dictionary:
  """The dictionary of a state, for raw activations: the scale folded into it."""
  params = config.wires.fold_scale(state.params, state.scale)
  return Dictionary(params, config)


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


def fired(codes: Codes, features: int) -> Bool[Array, ' F']:
  """Which features are active anywhere in the batch."""
  if isinstance(codes, SparseCodes):
    quiet = jnp.zeros(features, bool)
    return quiet.at[codes.indices].max(codes.values > 0)
  return jnp.any(codes > 0, axis=0)


def count_idle(idle: Array, active: Array, examples: int) -> Array:
  """Counters after a batch: 0 where active, else `examples` more, never overflowing."""
  ceiling = np.iinfo(np.int32).max - examples
  return jnp.where(active, 0, jnp.minimum(idle, ceiling) + examples)


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
