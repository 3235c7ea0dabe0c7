"""Many dictionaries at once: one program, one pass over the data, one model forward.

The members of a sweep share shapes, wiring and objective and differ in numbers: seeds,
learning rates, k, coefficients. Their states are stacked on a leading axis and every
batch goes to all of them:

    members = grid({'seed': (0, 1), 'terms.l1.coefficient': (1.0, 2.0, 4.0)})
    result = train_sweep(config, trainer, members, batches, sample, workdir)
    result.dictionaries[3], result.metrics[3]
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools
import itertools
import os
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
import numpy as np

from interp_jax import training
from interp_jax.core import unknown
from interp_jax.dictionaries import combinations, initial
from interp_jax.dictionaries import trainer as trainer_lib
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
from interp_jax.sharding import MODEL

Member = Mapping[str, float | int]
OVER = ('auto', 'vmap', 'map')


@dataclasses.dataclass(frozen=True)
class SweepOfDictionaries:
  """The trained members of a sweep.

  Attributes:
    members: What each of them differs in.
    dictionaries: They read raw activations.
    state: The stacked state at the end.
    metrics: Of the held-out rows, for each, those that are defined for all; empty where
      there are none.
    finished: Whether the run reached its last step (else a signal ended it).
    seconds: Time in this call.
  """

  members: tuple[dict[str, float | int], ...]
  dictionaries: tuple[Dictionary, ...]
  state: DictionaryState
  metrics: tuple[dict[str, float | int], ...]
  finished: bool
  seconds: float


def grid(axes: Mapping[str, Sequence[float | int]]) -> list[dict[str, float | int]]:
  """All combinations of some settings; the last one named varies fastest.

  Args:
    axes: Setting → its values, e.g. `{'seed': (0, 1), 'activation.k': (16, 32)}`.
  """
  products = itertools.product(*axes.values())
  return [dict(zip(axes, values, strict=True)) for values in products]


def settings_of(config: DictionaryConfig, trainer: TrainerConfig) -> dict[str, Any]:
  """What members may differ in, with the values that the base has."""
  found: dict[str, Any] = {
    'seed': trainer.seed,
    'learning_rate': trainer.learning_rate,
  }
  if hasattr(config.activation, 'k'):
    found['activation.k'] = config.activation.k
  for term in trainer.objective:
    for field in dataclasses.fields(term):
      value = getattr(term, field.name)
      if field.name in ('coefficient', 'target', 'scale') and value is not None:
        found[f'terms.{term.name}.{field.name}'] = value
  return found


def member_config(
  config: DictionaryConfig, trainer: TrainerConfig, member: Member
) -> tuple[DictionaryConfig, TrainerConfig]:
  """What one member is when it is trained alone.

  Raises:
    ValueError: if the member names something that members cannot differ in.
  """
  allowed = settings_of(config, trainer)
  for name in member:
    if name not in allowed:
      raise ValueError(unknown('setting of a sweep', name, allowed))
  terms = _terms(trainer, member)
  shared = ('seed', 'learning_rate')
  top: Any = {name: member[name] for name in shared if name in member}
  trainer = dataclasses.replace(trainer, terms=terms, **top)
  if 'activation.k' in member:
    config = _with_k(config, member['activation.k'])
  return config, trainer


def _with_k(config: DictionaryConfig, k: Any) -> DictionaryConfig:
  activation: Any = config.activation
  return dataclasses.replace(config, activation=dataclasses.replace(activation, k=k))


def _terms(trainer: TrainerConfig, values: Mapping[str, Any]) -> tuple[Any, ...]:
  """The terms with the values of a member, which may be traced."""
  out = []
  for term in trainer.objective:
    prefix = f'terms.{term.name}.'
    own = {
      name.removeprefix(prefix): value
      for name, value in values.items()
      if name.startswith(prefix)
    }
    out.append(dataclasses.replace(term, **own))
  return tuple(out)


def make_sweep_step(
  config: DictionaryConfig,
  trainer: TrainerConfig,
  values: Mapping[str, np.ndarray],
  plan: Plan,
  over: str = 'auto',
) -> training.StepFn:
  """The step of all members, not yet compiled: metrics are arrays `[W]`.

  A member whose loss is not finite keeps its state, and `skipped` is 1: one bad setting
  does not end the others' run.

  Args:
    config: What the largest member computes.
    trainer: How they are trained.
    values: Setting → its value for each member, `[W]`.
    plan: How to compute.
    over: `'vmap'` computes all members side by side; `'map'` one after the other, which
      the sparse kernels want; `'auto'` for what was measured to be faster.
  """
  if over not in OVER:
    raise ValueError(unknown('way to run a sweep', over, OVER))
  arrays = {name: jnp.asarray(value) for name, value in values.items()}

  def one(state: DictionaryState, own: dict[str, Any], batch: Any) -> Any:
    mine = dataclasses.replace(trainer, terms=_terms(trainer, own))
    limit = own.get('activation.k')
    step = make_step(
      config,
      mine,
      dataclasses.replace(plan, limit=limit),
      rate=own.get('learning_rate'),
      seed=own.get('seed'),
    )
    new, metrics = step(state, batch)
    fine = jnp.isfinite(metrics['loss'])
    new = jax.tree.map(lambda a, b: jnp.where(fine, a, b), new, state)
    shown = {name: jnp.where(fine, value, 0) for name, value in metrics.items()}
    return new, shown | {'skipped': 1.0 - fine}

  in_order = over == 'map' or (over == 'auto' and plan.impl == 'sparse')

  def step(states: DictionaryState, batch: Any) -> tuple[DictionaryState, dict]:
    if in_order:
      return jax.lax.map(lambda pair: one(pair[0], pair[1], batch), (states, arrays))
    return jax.vmap(one, (0, 0, None))(states, arrays, batch)

  return step


def init_sweep(
  config: DictionaryConfig,
  trainer: TrainerConfig,
  scale: initial.InputScale,
  values: Mapping[str, np.ndarray],
  members: int,
  sample: Mapping[str, np.ndarray] | None = None,
) -> DictionaryState:
  """The stacked states before the first step; see `init_state`."""
  seeds = values.get('seed', np.full(members, trainer.seed))
  states = [init_state(config, trainer, scale, int(seed), sample) for seed in seeds]
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def train_sweep(
  config: DictionaryConfig,
  trainer: TrainerConfig,
  members: Sequence[Member],
  batches: training.BatchIterator,
  sample: Any,
  workdir: str | os.PathLike[str],
  *,
  held_out: Any = None,
  mesh: Mesh | None = None,
  over: str = 'auto',
  sinks: Sequence[training.Sink] = (),
  progress: bool = True,
) -> SweepOfDictionaries:
  """Trains all members on the same batches, or goes on from a checkpoint.

  Args:
    config: What members compute.
    trainer: How they are trained.
    members: What each differs in: settings among those of `settings_of`, the same for
      all members; `grid` makes such a list.
    batches: As in `train`.
    sample: As in `train`.
    workdir: As in `train`.
    held_out: As in `train`.
    mesh: Devices: members are split over `model`, the batch over `data`.
    over: As in `make_sweep_step`.
    sinks: As in `train`.
    progress: Whether to show a progress bar.

  Returns:
    The members.

  Raises:
    ValueError: as `train`, and if members do not name the same settings or do not
      divide over the mesh.
  """
  configs = _check_members(config, trainer, members)
  values = {name: np.asarray([m[name] for m in members]) for name in members[0]}
  if 'activation.k' in values:
    config = _with_k(config, values['activation.k'].max().item())
  scale, rows = trainer_lib.measured(config, trainer, sample)
  state = init_sweep(config, trainer, scale, values, len(members), rows)
  plan = trainer_lib.plan_of(trainer, mesh)
  if plan.mesh is not None:  # Each device has whole members.
    plan = Plan('dense')
  layout = None
  if mesh is not None:
    _check_mesh(mesh, len(members))
    layout = NamedSharding(mesh, P(MODEL))
    state = jax.device_put(state, layout)
  step = make_sweep_step(config, trainer, values, plan, over)
  evaluate = _evaluator(configs, held_out)
  result = training.fit(
    state,
    training.compile_step(step, mesh, layout),
    batches,
    trainer_lib.loop_config(trainer),
    workdir,
    evaluate=evaluate,
    place=functools.partial(training.place_batch, mesh=mesh),
    notes={
      'dictionary': config.to_dict(),
      'trainer': trainer.settings,
      'members': [dict(member) for member in members],
    },
    sinks=sinks,
    progress=progress,
  )
  trained = tuple(_exported(configs, result.state))
  scores = result.evaluation
  if scores is None:
    scores = {} if evaluate is None else evaluate(result.state)
  return SweepOfDictionaries(
    tuple(dict(member) for member in members),
    trained,
    result.state,
    tuple(_by_member(scores)),
    result.finished,
    result.seconds,
  )


def _check_members(
  config: DictionaryConfig, trainer: TrainerConfig, members: Sequence[Member]
) -> list[DictionaryConfig]:
  """What the members compute when they are alone, all checked."""
  if not members:
    raise ValueError('A sweep needs at least one member.')
  for member in members:
    if set(member) != set(members[0]):
      raise ValueError(
        f'Members must name the same settings: {sorted(members[0])} and '
        f'{sorted(member)}.'
      )
  alone = [member_config(config, trainer, member) for member in members]
  for one in alone:
    combinations.check(*one)
  return [one for one, _ in alone]


def _check_mesh(mesh: Mesh, members: int) -> None:
  parts = mesh.shape[MODEL]
  if members % parts:
    raise ValueError(
      f'{members} members do not divide over the {parts} devices of the mesh axis '
      f'{MODEL!r}. Choose a number of members, or a mesh, that does.'
    )


def _exported(
  configs: Sequence[DictionaryConfig], states: DictionaryState
) -> list[Dictionary]:
  """The dictionary of each member."""
  member = lambda i: jax.tree.map(lambda leaf: leaf[i], states)
  exported = (export(config, member(i)) for i, config in enumerate(configs))
  return [trainer_lib.usable_alone(one) for one in exported]


def _by_member(scores: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
  """The metrics of each member, from the members' values of each metric."""
  for values in zip(*scores.values(), strict=True):
    yield dict(zip(scores, values, strict=True))


def _evaluator(configs: Sequence[DictionaryConfig], held_out: Any) -> Any:
  if held_out is None:
    return None
  trainer_lib.check_rows(configs[0], held_out, 'held_out')

  def evaluate(states: DictionaryState) -> dict[str, list[Any]]:
    scores = [trainer_lib.score(one, held_out) for one in _exported(configs, states)]
    # Some are undefined for a dictionary none of whose features is ever active.
    names = [name for name in scores[0] if all(name in score for score in scores)]
    return {name: [score[name] for score in scores] for name in names}

  return evaluate
