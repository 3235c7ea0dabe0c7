"""The loop of a training run: step, log, evaluate, checkpoint, resume, stop.

The loop knows nothing of models. It is given a state, a step function and an iterator
of batches, and carries the run through to its last step, over interruptions:

- a run that finds a checkpoint goes on from it, bit for bit as if never stopped;
- SIGTERM and SIGINT end the run cleanly, behind a checkpoint;
- a metric that is not finite ends it with an error, before anything is overwritten.

The host does not wait for the device in a step: a few steps are kept queued, and
metrics are fetched when they are logged. `data_wait` in the log is the share of the
time in which the devices had nothing to do because the next batch was not there.
"""

from collections.abc import Callable, Sequence
import contextlib
import dataclasses
import json
import os
import pathlib
import time
from typing import Any, Protocol, runtime_checkable

import jax
import tqdm

from interp_jax.training import signals
from interp_jax.training.checkpoints import Checkpoints, Restored, differences
from interp_jax.training.metrics import DivergedError, MetricLog, MetricWindow
from interp_jax.training.sinks import Sink
from interp_jax.training.step import StepFn, place_batch


@runtime_checkable
class BatchIterator(Protocol):
  """An endless iterator of batches whose position can be saved and restored."""

  def __next__(self) -> Any: ...

  def get_state(self) -> Any: ...

  def set_state(self, state: Any) -> None: ...


@dataclasses.dataclass(frozen=True)
class LoopConfig:
  """How long a run is and how often things happen, in steps (0: never).

  Attributes:
    steps: length of the run.
    log_every: steps between records of training metrics.
    eval_every: steps between evaluations; there is always one at the end.
    checkpoint_every: steps between checkpoints; there is always one at the end.
    keep: how many checkpoints to keep.
    units_per_step: what one step takes in, for the rate that is shown and logged.
    unit: the name of what it takes in.
    show: names of metrics that the progress bar shows, where they are logged.
  """

  steps: int
  log_every: int = 50
  eval_every: int = 500
  checkpoint_every: int = 500
  keep: int = 2
  units_per_step: int = 1
  unit: str = 'steps'
  show: tuple[str, ...] = ('loss',)


@dataclasses.dataclass(frozen=True)
class FitResult:
  """The state at the end, and how the run ended.

  Attributes:
    state: the state after `step` updates.
    step: updates made, over all resumptions.
    finished: whether the run reached its last step (else a signal ended it).
    seconds: time that the run took, over all resumptions.
    evaluation: what `evaluate` gave for this state; None if this call did not evaluate
      it: it was stopped between evaluations, or the run was at its end before.
  """

  state: Any
  step: int
  finished: bool
  seconds: float
  evaluation: dict[str, Any] | None = None


def fit(
  state: Any,
  step_fn: StepFn,
  batches: BatchIterator,
  config: LoopConfig,
  workdir: str | os.PathLike[str],
  *,
  evaluate: Callable[[Any], dict[str, float]] | None = None,
  place: Callable[[Any], Any] = place_batch,
  notes: dict[str, Any] | None = None,
  sinks: Sequence[Sink] = (),
  progress: bool = True,
) -> FitResult:
  """Trains until `config.steps` updates are made, or a signal comes.

  If `workdir` holds a checkpoint, the run goes on from it and `state` serves as its
  template. Metrics go to `workdir/metrics.jsonl`, checkpoints to
  `workdir/checkpoints`.

  Args:
    state: pytree of arrays, laid out as `step_fn` wants it. It may be donated.
    step_fn: `(state, batch) -> (state, metrics)`, the metrics being scalars.
    batches: where batches come from. It is advanced, or set to the checkpoint's state.
    config: lengths and intervals.
    workdir: folder of the run.
    evaluate: `state -> metrics`, called every `config.eval_every` steps.
    place: puts a batch onto the devices.
    notes: JSON to save with each checkpoint: the settings that the run depends on. A
      checkpoint with other settings is refused.
    sinks: what records of metrics go to as well.
    progress: whether to show a progress bar.

  Raises:
    DivergedError: if a metric is not finite. The last good checkpoint is kept.
    ValueError: if the checkpoint in `workdir` is of a run with other settings.
  """
  workdir = pathlib.Path(workdir)
  # As they will be read: a tuple comes back from JSON as a list.
  settings: dict[str, Any] = json.loads(json.dumps(notes or {}))
  with contextlib.ExitStack() as stack:
    checkpoints = stack.enter_context(Checkpoints(workdir / 'checkpoints', config.keep))
    restored = _restore(checkpoints, state, settings, workdir)
    start = 0
    if restored is not None:
      start, state = restored.step, restored.state
      batches.set_state(restored.data_state)
    run = _Run(
      config=config,
      step_fn=step_fn,
      batches=batches,
      place=place,
      evaluate=evaluate,
      checkpoints=checkpoints,
      log=MetricLog(workdir / 'metrics.jsonl', start),
      sinks=tuple(sinks),
      notes=settings,
      bar=stack.enter_context(_progress_bar(config, start, progress)),
      interrupted=stack.enter_context(signals.catch_interrupts()),
    )
    try:
      return run.go(state, start)
    except DivergedError as error:
      raise DivergedError(f'{error} {_last_good(checkpoints)}') from None


def _restore(
  checkpoints: Checkpoints, state: Any, notes: dict[str, Any], workdir: pathlib.Path
) -> Restored | None:
  if checkpoints.latest_step() is None:
    return None
  found = differences(checkpoints.notes(), notes)
  if found:
    raise ValueError(
      f'{workdir} holds a checkpoint of another run. It differs in'
      f' {"; ".join(found)}. Give another folder, or the settings of that run.'
    )
  return checkpoints.restore(state)


def _last_good(checkpoints: Checkpoints) -> str:
  checkpoints.wait()
  step = checkpoints.latest_step()
  if step is None:
    return 'There is no checkpoint yet.'
  return f'The last good checkpoint, of step {step}, is in {checkpoints.directory}.'


def _progress_bar(config: LoopConfig, start: int, progress: bool) -> tqdm.tqdm:
  silent = not progress or jax.process_index() != 0
  return tqdm.tqdm(
    total=config.steps, initial=start, unit='step', disable=silent, mininterval=1.0
  )


@dataclasses.dataclass
class _Run:
  """One call of `fit`: its parts, and the metrics that were not fetched yet."""

  config: LoopConfig
  step_fn: StepFn
  batches: BatchIterator
  place: Callable[[Any], Any]
  evaluate: Callable[[Any], dict[str, float]] | None
  checkpoints: Checkpoints
  log: MetricLog
  sinks: tuple[Sink, ...]
  notes: dict[str, Any]
  bar: tqdm.tqdm
  interrupted: signals.Interrupted
  window: MetricWindow = dataclasses.field(default_factory=MetricWindow)
  window_started: float = 0.0
  waited: float = 0.0
  started: float = 0.0

  def go(self, state: Any, start: int) -> FitResult:
    self.window_started = time.monotonic()
    # The clock of the log goes on where an earlier part of the run left it.
    self.started = self.window_started - self.log.last.get('seconds', 0.0)
    step, stopped, evaluation = start, False, None
    while step < self.config.steps and not stopped:
      state, metrics = self.step_fn(state, self._next_batch())
      step += 1
      self.window.add(metrics)
      self.bar.update()
      last = step == self.config.steps
      log_now = last or _due(step, self.config.log_every)
      stopped = not last and self.interrupted.agreed(log_now)
      if log_now or stopped:
        self._write_log(step)
      evaluation = None
      if last or _due(step, self.config.eval_every):
        evaluation = self._evaluation(step, state)
      if last or stopped or _due(step, self.config.checkpoint_every):
        self._save(step, state)
    seconds = time.monotonic() - self.started
    finished = step >= self.config.steps
    return FitResult(state, step, finished, seconds, evaluation)

  def _next_batch(self) -> Any:
    """The next batch on the devices; counts the time if they wait for it."""
    started = time.monotonic()
    batch = self.place(next(self.batches))
    if self.window.idle:
      self.waited += time.monotonic() - started
    return batch

  def _write_log(self, step: int) -> None:
    steps = len(self.window)
    means = self.window.means(step)
    now = time.monotonic()
    elapsed = max(now - self.window_started, 1e-9)
    rate = steps * self.config.units_per_step / elapsed
    timing = {
      f'{self.config.unit}_per_second': rate,
      'data_wait': self.waited / elapsed,
      'seconds': now - self.started,
    }
    self.window_started, self.waited = now, 0.0
    self._record(step, 'train', means | timing)
    shown = {k: _shown(means[k]) for k in self.config.show if k in means}
    self.bar.set_postfix(shown | {f'{self.config.unit}/s': f'{rate:,.0f}'})

  def _evaluation(self, step: int, state: Any) -> dict[str, Any] | None:
    """What `evaluate` gives, written to the log."""
    if self.evaluate is None:
      return None
    started = time.monotonic()
    values = dict(self.evaluate(state))
    elapsed = time.monotonic() - started
    self.window_started += elapsed  # The training rate is of training.
    self._record(step, 'eval', values | {'eval_seconds': elapsed})
    return values

  def _record(self, step: int, kind: str, values: dict[str, Any]) -> None:
    for sink in (self.log, *self.sinks):
      sink.write(step, kind, values)

  def _save(self, step: int, state: Any) -> None:
    self.window.check(step)  # A state that is not finite must not displace a good one.
    self.checkpoints.save(step, state, self.batches.get_state(), self.notes)


def _shown(value: Any) -> str:
  """A metric for the progress bar; of members of a sweep, the least and the most."""
  if isinstance(value, list):
    return f'{min(value):.4g}..{max(value):.4g}'
  return f'{value:.4g}'


def _due(step: int, every: int) -> bool:
  return every > 0 and step % every == 0
