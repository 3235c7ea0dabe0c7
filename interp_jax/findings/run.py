"""What the reproduction of a finding works with: a folder, seeds, stages, training."""

from collections.abc import Callable, Mapping
import dataclasses
import math
import pathlib
from typing import Any
import zlib

import jax
import numpy as np
import optax

from interp_jax import training
from interp_jax.training import Stages

Arrays = dict[str, np.ndarray]


class Stopped(Exception):
  """A signal ended a training run behind a checkpoint."""


@dataclasses.dataclass(frozen=True)
class Trained:
  """A training run that reached its end.

  Attributes:
    params: The parameters at the end, `[W, ...]` with worlds.
    snapshots: `(step, params)` from step 0 on, as numpy arrays.
    records: Training metrics; `step` counts updates.
    measures: What `measure` gave, with its `step`.
  """

  params: Any
  snapshots: list[tuple[int, Any]]
  records: list[dict[str, Any]]
  measures: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Run:
  """The working folder of a finding.

  Attributes:
    workdir: The folder.
    seed: What all seeds are derived from.
    progress: Whether to show progress bars.
    stages: What is done already.
  """

  workdir: pathlib.Path
  seed: int
  progress: bool
  stages: Stages

  def seeds(self, name: str, count: int) -> list[int]:
    """Seeds of their own for every purpose.

    Args:
      name: The purpose.
      count: How many.
    """
    sequence = np.random.SeedSequence([self.seed, zlib.crc32(name.encode())])
    return [int(word) >> 1 for word in sequence.generate_state(count)]

  def arrays(
    self, name: str, settings: Mapping[str, Any], work: Callable[[], Mapping[str, Any]]
  ) -> Arrays:
    """A stage that leaves arrays; it is done once.

    Args:
      name: Of the stage and its file.
      settings: What the result depends on, as JSON types.
      work: Gives the arrays by name.

    Raises:
      ValueError: if it was done with other settings.
    """
    path = self.workdir / f'{name}.npz'
    if not path.exists():
      self.stages.forget(name)

    def write() -> dict[str, Any]:
      self._say(name)
      found = {key: np.asarray(value) for key, value in work().items()}
      _write_arrays(path, found)
      return {'arrays': sorted(found)}

    self.stages.result(name, {**settings, 'seed': self.seed}, write)
    with np.load(path, allow_pickle=False) as file:
      return dict(file)

  def train(
    self,
    name: str,
    loss_fn: training.DrawnLossFn,
    params: Any,
    optimizer: optax.GradientTransformation,
    steps: int,
    seed: int,
    *,
    settings: Mapping[str, Any],
    steps_per_call: int = 10,
    worlds: bool = True,
    shared_data: bool = False,
    snapshot_every: int = 0,
    measure: Callable[[Any], Mapping[str, Any]] | None = None,
    measure_every: int = 0,
    log_every: int = 100,
    checkpoint_every: int = 1000,
  ) -> Trained:
    """Trains one model, or many at once, on data that the loss draws.

    Goes on where an earlier call was stopped or killed. All lengths are in updates and
    must be multiples of `steps_per_call`.

    Args:
      name: Folder of the run in the working folder.
      loss_fn: `(params, key) -> (loss, metrics)` of one world.
      params: Parameters to begin with; with worlds, every leaf is `[W, ...]`.
      optimizer: Turns gradients into updates, in each world by itself.
      steps: Updates to make.
      seed: Of the data.
      settings: What the run depends on, as JSON types.
      steps_per_call: Updates that are one call of the device.
      worlds: Whether `params` are of many models.
      shared_data: Whether all worlds see the same data.
      snapshot_every: Updates between copies of the parameters that are kept; 0 for
        none.
      measure: `params -> numbers or arrays`, of all worlds.
      measure_every: Updates between measurements; 0 for only at the end.
      log_every: Updates between records of the metrics.
      checkpoint_every: Updates between checkpoints.

    Raises:
      Stopped: if a signal ended it behind a checkpoint.
      ValueError: if a length is not a multiple of `steps_per_call`, or the folder holds
        a run of other settings.
    """
    lengths = {'steps': steps, 'log_every': log_every, 'snapshot_every': snapshot_every}
    lengths |= {'measure_every': measure_every, 'checkpoint_every': checkpoint_every}
    for length, value in lengths.items():
      if value % steps_per_call:
        raise ValueError(
          f'{length}={value} is not a multiple of steps_per_call={steps_per_call}.'
        )
    calls = {length: value // steps_per_call for length, value in lengths.items()}
    folder = self.workdir / name
    keeper = _Snapshots(folder / 'snapshots', snapshot_every)
    keeper.offer(0, params)

    def watch(state: Any) -> dict[str, Any]:
      step = int(np.max(state.step))
      keeper.offer(step, state.params)
      due = step == steps or (measure_every and step % measure_every == 0)
      return dict(measure(state.params)) if measure and due else {}

    count = jax.tree.leaves(params)[0].shape[0] if worlds else None
    make_state = training.worlds_state if worlds else training.create_state
    # Copied, because the steps reuse the state's memory and the caller may go on.
    state = make_state(jax.tree.map(jax.numpy.array, params), optimizer)
    step = training.make_drawn_step(
      loss_fn, optimizer, seed, worlds=count, shared_data=shared_data
    )
    self._say(name)
    with self.stages.clock.count(name):
      result = training.fit(
        state,
        training.compile_step(step),
        training.Updates(steps_per_call),
        training.LoopConfig(
          steps=calls['steps'],
          log_every=calls['log_every'],
          eval_every=math.gcd(calls['snapshot_every'], calls['measure_every']),
          checkpoint_every=calls['checkpoint_every'],
          units_per_step=steps_per_call,
          unit='updates',
        ),
        folder,
        evaluate=watch,
        notes={**settings, 'steps': steps, 'seed': seed},
        progress=self.progress,
      )
    if not result.finished:
      raise Stopped(f'{name} was stopped; run again to go on.')
    log = folder / 'metrics.jsonl'
    in_updates = lambda record: {**record, 'step': record['step'] * steps_per_call}
    measures = map(in_updates, training.read_metrics(log, 'eval'))
    return Trained(
      params=result.state.params,
      snapshots=keeper.read(params),
      records=list(map(in_updates, training.read_metrics(log, 'train'))),
      measures=[m for m in measures if set(m) - {'step', 'kind', 'eval_seconds'}],
    )

  def _say(self, name: str) -> None:
    if self.progress:
      print(f'{self.workdir.name}: {name}', flush=True)


class _Snapshots:
  """Copies of the parameters along a run, on disk."""

  def __init__(self, folder: pathlib.Path, every: int):
    self._folder, self._every = folder, every

  def offer(self, step: int, params: Any) -> None:
    """Keeps the parameters if it is time and they are not there."""
    path = self._folder / f'{step:08}.npz'
    if not self._every or step % self._every or path.exists():
      return
    leaves = jax.tree.leaves(jax.device_get(params))
    _write_arrays(path, {str(i): leaf for i, leaf in enumerate(leaves)})

  def read(self, like: Any) -> list[tuple[int, Any]]:
    """All of them, as trees of the structure of `like`."""
    structure, found = jax.tree.structure(like), []
    for path in sorted(self._folder.glob('*.npz')):
      with np.load(path, allow_pickle=False) as file:
        leaves = [file[str(i)] for i in range(structure.num_leaves)]
      found.append((int(path.stem), jax.tree.unflatten(structure, leaves)))
    return found


def _write_arrays(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes a file of arrays whole or not at all."""
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(path.name + '.partial')
  with partial.open('wb') as file:
    np.savez(file, allow_pickle=False, **arrays)
  partial.replace(path)
