"""A log of metrics as lines of JSON, which a resumed run continues.

{"step": 100, "kind": "train", "loss": 3.21, "seconds": 12.5}
"""

import json
import math
import os
import pathlib
from typing import Any

import jax
import numpy as np

Record = dict[str, Any]

# Steps that may wait on the device: enough to keep it busy, few enough that the batches
# in the queue take no memory to speak of.
QUEUED_STEPS = 3


class DivergedError(RuntimeError):
  """A metric was not finite."""


class MetricWindow:
  """The metrics of the steps since they were last asked for.

  They stay on the device, so that the host need not wait for each step; but it does not
  run more than `QUEUED_STEPS` steps ahead.
  """

  def __init__(self) -> None:
    self._pending: list[dict[str, Any]] = []
    self._last: dict[str, Any] | None = None

  def __len__(self) -> int:
    return len(self._pending)

  @property
  def idle(self) -> bool:
    """Whether the last step is computed, so that the devices have nothing to do.

    Before the first step there is no such step.
    """
    leaves = jax.tree.leaves(self._last)
    return bool(leaves) and all(map(_is_ready, leaves))

  def add(self, metrics: dict[str, Any]) -> None:
    """Takes the metrics of the next step, which may not be computed yet."""
    self._pending.append(metrics)
    self._last = metrics
    if len(self._pending) > QUEUED_STEPS:
      jax.block_until_ready(self._pending[-QUEUED_STEPS - 1])

  def check(self, step: int) -> list[dict[str, Any]]:
    """Fetches the metrics and sees that they are finite.

    Args:
      step: the step of the last metrics that were added.

    Raises:
      DivergedError: if one is not finite.
    """
    fetched = jax.device_get(self._pending)
    for at, metrics in enumerate(fetched, step - len(fetched) + 1):
      bad = {
        name: np.asarray(x).tolist()
        for name, x in metrics.items()
        if not np.all(np.isfinite(x))
      }
      if bad:
        raise DivergedError(
          f'Step {at} gave {bad}, which is not finite. Try a lower learning rate, a'
          ' longer warm-up or a smaller clipping norm; compute in float32 if it was a'
          ' shorter type.'
        )
    return fetched

  def means(self, step: int) -> dict[str, Any]:
    """The means over the window, after which a new window begins.

    A metric that is an array (of the members of a sweep) has a list of means.

    Args:
      step: the step of the last metrics that were added.

    Raises:
      DivergedError: if one is not finite.
    """
    fetched = self.check(step)
    self._pending.clear()
    names = fetched[0]
    return {name: _mean([metrics[name] for metrics in fetched]) for name in names}


class MetricLog:
  """Appends records to a JSONL file; only the first process writes.

  Opening a log at a step drops the records past that step, because the resumed run
  will make them again, and a last line that was cut off when the run was killed.

  Attributes:
    last: the last training record that was kept; empty if there is none.
  """

  def __init__(self, path: str | os.PathLike[str], resumed_step: int = 0):
    """Opens a log, truncating it to what happened up to `resumed_step`.

    Args:
      path: the file. It is made if it is not there, with its folder.
      resumed_step: the step from which the run goes on; 0 starts a new log.
    """
    self.last: Record = {}
    self._path = pathlib.Path(path)
    self._writes = jax.process_index() == 0
    if self._writes:
      self._path.parent.mkdir(parents=True, exist_ok=True)
      kept = _truncate(self._path, resumed_step)
      self.last = next((r for r in reversed(kept) if r['kind'] == 'train'), {})

  def write(self, step: int, kind: str, values: dict[str, Any]) -> None:
    """Appends one record and flushes it to the file.

    Args:
      step: number of updates made.
      kind: what the values are of, for example `'train'` or `'eval'`.
      values: numbers, strings and lists of them. Numbers that are not finite are
        written as null.
    """
    if self._writes:
      record = {'step': step, 'kind': kind} | {k: _plain(v) for k, v in values.items()}
      with self._path.open('a', encoding='utf-8') as file:
        file.write(json.dumps(record, allow_nan=False) + '\n')


def read_metrics(path: str | os.PathLike[str], kind: str | None = None) -> list[Record]:
  """Reads a log, leaving out a last line that was cut off.

  Args:
    path: the file.
    kind: if given, only records of this kind.
  """
  records = []
  for line in pathlib.Path(path).read_text(encoding='utf-8').splitlines():
    try:
      records.append(json.loads(line))
    except json.JSONDecodeError:
      break  # The run was killed while it wrote this line.
  return [record for record in records if kind in (None, record['kind'])]


def _truncate(path: pathlib.Path, step: int) -> list[Record]:
  records = read_metrics(path) if path.exists() and step else []
  kept = [record for record in records if record['step'] <= step]
  partial = path.with_name(path.name + '.partial')
  lines = ''.join(json.dumps(record) + '\n' for record in kept)
  partial.write_text(lines, encoding='utf-8')
  partial.replace(path)
  return kept


def _is_ready(value: Any) -> bool:
  """Whether a value is there already; what is not on a device always is."""
  return not hasattr(value, 'is_ready') or value.is_ready()


def _mean(values: list[Any]) -> Any:
  """The mean over steps, in float64: a number, or a list for arrays."""
  mean = np.mean(np.asarray(values, np.float64), axis=0)
  return mean.tolist()


def _plain(value: Any) -> Any:
  if isinstance(value, (str, bool, int)) or value is None:
    return value
  if isinstance(value, list) or np.ndim(value):
    return [_plain(one) for one in np.asarray(value).tolist()]
  number = float(value)
  return number if math.isfinite(number) else None
