"""One step of training: what changes, how it is updated and what is logged of it."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import math
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np
import optax

from interp_jax import training
from interp_jax.dictionaries import codes as codes_lib
from interp_jax.dictionaries import constraint, counted, initial, objective
from interp_jax.dictionaries.activation import BatchTopK, Plan
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.dictionary import Dictionary
from interp_jax.dictionaries.export import export_params
from interp_jax.dictionaries.resample import resample
from interp_jax.dictionaries.settings import TrainerConfig

Source = Callable[[Any], tuple[Array, Array, Any]]
"""Batch → inputs `[B, *in]`, targets `[B, *out]`, and what terms read beside them."""


@flax.struct.dataclass
class DictionaryState:
  """What changes from step to step, and the scale of the data.

  Attributes:
    step: int32 scalar, the number of updates made.
    params: Parameters for data times `scale`.
    opt_state: The optimiser's state.
    idle: `[*C]` int32, examples since each feature was last active.
    scale: `inputs` and `outputs`, the factors of the data.
    terms: Term → its state, of those that have one.
    least: Running smallest active value of BatchTopK; 0 for others.
  """

  step: Any
  params: Any
  opt_state: Any
  idle: Any
  scale: Any
  terms: Any
  least: Any


def make_optimizer(
  config: TrainerConfig, rate: Any = None
) -> optax.GradientTransformation:
  """Adam (or signum) with warm-up and linear decay, under the constraints.

  Args:
    config: How to train.
    rate: The learning rate, if not the config's: a traced number, in sweeps.
  """
  shape = training.warmup_stable_decay(
    1.0,
    config.steps,
    _share(config.warmup, config.steps),
    _share(config.decay, config.steps),
  )
  peak = config.learning_rate if rate is None else rate
  # As a float of the default width: int32 divided by a number is float32 always.
  schedule = lambda count: peak * shape(jnp.asarray(count, float))
  if config.optimizer == 'adam':
    update = optax.adam(schedule, config.b1, config.b2, config.eps)
  else:
    signs = optax.sign_sgd(schedule)
    update = optax.contrib.schedule_free(signs, schedule, config.b1)
  clip = optax.clip_by_global_norm(config.clip) if config.clip else optax.identity()
  before, after = [], [constraint.keep_thresholds_positive()]
  if config.unit_norm:
    before, after = [constraint.project_gradient()], [constraint.renormalize(), *after]
  return optax.chain(*before, clip, update, *after)


def _share(share: float, steps: int) -> int:
  """So many of the steps, rounded down but for float noise: 0.29 of 100 are 29."""
  return math.floor(share * steps + 1e-6)


def init_state(
  config: DictionaryConfig,
  trainer: TrainerConfig,
  scale: initial.InputScale,
  seed: Any = None,
  sample: Mapping[str, np.ndarray] | None = None,
) -> DictionaryState:
  """The state before the first step.

  Args:
    config: What the dictionary computes.
    trainer: How it is trained.
    scale: Centre and scale of the data.
    seed: Of the first weights, if not the trainer's.
    sample: Raw rows, for weights that are taken from data.
  """
  seed = trainer.seed if seed is None else seed
  params = initial.init_params(config, scale, seed, trainer.init, sample)
  if trainer.unit_norm:
    unit = jax.tree.map(constraint.unit_rows, params['W_dec'])
    params = params | {'W_dec': unit}
  factors = {
    'inputs': jnp.asarray(scale.inputs, jnp.float32),
    'outputs': jnp.asarray(scale.outputs, jnp.float32),
  }
  return DictionaryState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    opt_state=make_optimizer(trainer).init(params),
    idle=jnp.zeros(config.code_shape, jnp.int32),
    scale=factors,
    terms=objective.init_states(trainer.objective),
    least=jnp.zeros(()),
  )


def export(config: DictionaryConfig, state: DictionaryState) -> Dictionary:
  """The dictionary of a state, for raw activations; see `export_params`."""
  return export_params(config, final_params(state), state.scale, state.least)


def final_params(state: DictionaryState) -> Any:
  """The parameters to be used: those that train, or their average under `'signum'`."""
  is_free = lambda part: isinstance(part, optax.contrib.ScheduleFreeState)
  parts = filter(is_free, jax.tree.leaves(state.opt_state, is_leaf=is_free))
  params = state.params
  for part in parts:  # There is one at most.
    params = optax.contrib.schedule_free_eval_params(part, params)
  return params


def split_batch(batch: Any) -> tuple[Array, Array, Any]:
  """Inputs, targets and what else a batch holds.

  Args:
    batch: Inputs that are their own targets, or a mapping with `inputs` and `targets`
      (and `context`, for terms that read it).
  """
  if not isinstance(batch, Mapping):
    return batch, batch, None
  inputs = batch['inputs']
  return inputs, batch.get('targets', inputs), batch.get('context')


def make_step(
  config: DictionaryConfig,
  trainer: TrainerConfig,
  plan: Plan,
  rate: Any = None,
  seed: Any = None,
  source: Source = split_batch,
) -> training.StepFn:
  """The step, not yet compiled: `(state, batch) -> (state, metrics)`.

  The metrics are of this batch: `loss` and its parts, `fvu` (against the batch's own
  mean), `l0`, and `dead_fraction` (features idle for `dead_after` of AuxK; else for a
  tenth of the run).

  Args:
    config: What the dictionary computes.
    trainer: How it is trained.
    plan: How to compute.
    rate: The learning rate, if not the trainer's.
    seed: Of what is drawn in a step, if not the trainer's.
    source: Batch → inputs, targets, context: a model's forward pass, say.
  """
  optimizer = make_optimizer(trainer, rate)
  terms, dead_after = trainer.objective, dead_after_of(trainer)
  root = jax.random.key(trainer.seed if seed is None else seed)

  narrow = functools.partial(jax.tree.map, _to(trainer.compute_dtype))

  def forward_of(
    params: Any, batch: Any, state: DictionaryState, plan: Plan = plan
  ) -> objective.Forward:
    inputs, targets, context = batch
    known = {
      'key': jax.random.fold_in(root, state.step),
      'states': state.terms,
      'scale': state.scale,
      'context': context,
    }
    params, inputs = narrow((params, inputs))
    return objective.run(
      config,
      params,
      inputs,
      state.idle,
      state.step,
      targets=targets,
      plan=plan,
      **known,
    )

  def planned(params: Any, batch: Any, state: DictionaryState, plan: Plan) -> Any:
    forward = forward_of(params, batch, state, plan)
    total, parts = objective.total_loss(forward, terms)
    logged = {
      'loss': total,
      **parts,
      'fvu': _batch_fvu(forward),
      'l0': jnp.mean(codes_lib.active(forward.codes, forward.batch)),
    }
    seen = {
      'fired': codes_lib.fired(forward.codes, config.code_shape).astype(jnp.float32),
      'terms': objective.observe(forward, terms),
      'least': _least(forward),
    }
    return total, {'logged': logged, 'seen': seen}

  def after_counting(params: Any, batch: Any, state: DictionaryState) -> Any:
    look = lambda params: counted.look_at(config, *narrow((params, batch[0])))
    own = lambda known: dataclasses.replace(plan, known=known)
    loss = lambda params, known: planned(params, batch, state, own(known))
    return counted.cond_gradient(look, loss)(params)

  def loss_fn(params: Any, batch: Any, state: DictionaryState) -> Any:
    if counted.counts_first(config, terms, plan):
      return after_counting(params, batch, state)
    return planned(params, batch, state, plan)

  def step(state: DictionaryState, batch: Any) -> tuple[DictionaryState, dict]:
    inputs, targets, context = source(batch)
    examples = inputs.shape[0]
    inputs = _wide(inputs) * state.scale['inputs']
    targets = _wide(targets) * state.scale['outputs']
    scaled = (inputs, targets, context)
    (_, aux), grads = training.gradient(
      lambda params, part: loss_fn(params, part, state),
      state.params,
      scaled,
      trainer.microbatches,
    )
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params: Any = optax.apply_updates(state.params, updates)
    seen = aux['seen']
    idle = count_idle(state.idle, seen['fired'] > 0, examples)
    if trainer.resample is not None:
      settings = trainer.resample
      again = lambda: resample(
        settings,
        config,
        params,
        opt_state,
        idle,
        inputs,
        targets,
        forward_of(params, scaled, state).error,
        jax.random.fold_in(root, -1 - state.step),
      )
      same = lambda: (params, opt_state, idle)
      due = settings.due(state.step + 1)
      params, opt_state, idle = jax.lax.cond(due, again, same)
    dead = {'dead_fraction': jnp.mean(idle > dead_after)}
    state = DictionaryState(
      step=state.step + 1,
      params=params,
      opt_state=opt_state,
      idle=idle,
      scale=state.scale,
      terms=objective.next_states(terms, state.terms, seen['terms'], state.step),
      least=running_least(config, state.least, seen['least'], state.step),
    )
    return state, aux['logged'] | dead

  return step


def _wide(rows: Array) -> Array:
  """The rows in float32 at least."""
  return rows.astype(jnp.promote_types(rows.dtype, jnp.float32))


def _to(dtype: str) -> Any:
  """A cast of floating-point leaves."""
  is_float = lambda x: jnp.issubdtype(x.dtype, jnp.floating)
  return lambda x: x.astype(dtype) if is_float(x) else x


def count_idle(idle: Array, active: Array, examples: int) -> Array:
  """Counters after a batch: 0 where active, else `examples` more, never overflowing."""
  ceiling = np.iinfo(np.int32).max - examples
  return jnp.where(active, 0, jnp.minimum(idle, ceiling) + examples)


def dead_after_of(trainer: TrainerConfig) -> int:
  """Examples without activity after which a feature counts as dead."""
  for part in (*trainer.objective, trainer.resample):
    dead_after = getattr(part, 'dead_after', -1)
    if dead_after > 0:
      return dead_after
  tenth = trainer.steps * trainer.batch_size // 10
  return min(max(1, tenth), np.iinfo(np.int32).max)  # Counters are int32.


def _least(forward: objective.Forward) -> Float[Array, '']:
  """The smallest active value of a batch under BatchTopK, as it was compared; else 0.

  Infinity where nothing is active.
  """
  if not isinstance(forward.config.activation, BatchTopK):
    return jnp.zeros(())
  values = codes_lib.values_of(forward.codes)
  if forward.config.activation.by_norm:
    norms = forward.config.wiring.norms(forward.params)
    values = values * codes_lib.per_feature(forward.codes, norms)
  return jnp.min(jnp.where(values > 0, values, jnp.inf)).astype(jnp.float32)


def running_least(
  config: DictionaryConfig, old: Array, new: Array, step: Any
) -> Float[Array, '']:
  """The running threshold after a batch, where the activation has one.

  Args:
    config: The dictionary's.
    old: The threshold before; 0 where there is none yet.
    new: The smallest active value of the batch; infinity where nothing was active.
    step: The number of updates made before.
  """
  activation = config.activation
  if not isinstance(activation, BatchTopK):
    return old
  begun = (old > 0) | activation.from_zero
  rate = jnp.where(begun, activation.rate, 1.0)
  moved = (1 - rate) * old + rate * new
  return jnp.where(jnp.isfinite(new) & (step >= activation.since), moved, old)


def _batch_fvu(forward: objective.Forward) -> Float[Array, '']:
  spread = objective.spread(forward.targets)
  return objective.sum_squares(forward.error) / spread
