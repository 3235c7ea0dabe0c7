"""Where metrics go beside the JSON log: TensorBoard, Weights & Biases, anything else.

The packages belong to the extra `logging` and are imported when a sink is made.
"""

import os
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

Values = dict[str, Any]


@runtime_checkable
class Sink(Protocol):
  """Takes records of metrics, on the first process only."""

  def write(self, step: int, kind: str, values: Values) -> None: ...

  def close(self) -> None: ...


class TensorBoard:
  """Writes event files for TensorBoard."""

  def __init__(self, folder: str | os.PathLike[str]):
    """Opens a folder of event files; a resumed run adds to them.

    Args:
      folder: Where `tensorboard --logdir` will look.

    Raises:
      ImportError: if tensorboardX is not installed; the message says how to get it.
    """
    try:
      from tensorboardX import SummaryWriter
    except ImportError as error:
      raise ImportError(_missing('tensorboardX')) from error
    self._writer = SummaryWriter(str(folder)) if jax.process_index() == 0 else None

  def write(self, step: int, kind: str, values: Values) -> None:
    """Writes the numbers among the values as `kind/name`."""
    if self._writer is not None:
      for name, value in numbers(values).items():
        self._writer.add_scalar(f'{kind}/{name}', value, step)
      self._writer.flush()

  def close(self) -> None:
    """Closes the files."""
    if self._writer is not None:
      self._writer.close()


class WeightsAndBiases:
  """Logs to a run of Weights & Biases."""

  def __init__(self, **settings: Any):
    """Starts a run, or goes on with one.

    Args:
      **settings: Arguments of `wandb.init`: `project`, `name`, `config`, `mode`, and
        `id` with `resume` to go on with a run.

    Raises:
      ImportError: if wandb is not installed; the message says how to get it.
    """
    try:
      import wandb
    except ImportError as error:
      raise ImportError(_missing('wandb')) from error
    self._run = wandb.init(**settings) if jax.process_index() == 0 else None

  def write(self, step: int, kind: str, values: Values) -> None:
    """Logs the numbers among the values as `kind/name`."""
    if self._run is not None:
      named = {f'{kind}/{name}': value for name, value in numbers(values).items()}
      self._run.log(named, step=step)

  def close(self) -> None:
    """Ends the run."""
    if self._run is not None:
      self._run.finish()


def numbers(values: Values) -> dict[str, float]:
  """The numbers among some values; of lists, each entry as `name/index`."""
  out: dict[str, float] = {}
  for name, value in values.items():
    if isinstance(value, str) or value is None:
      continue
    array = np.asarray(value, np.float64)
    if array.ndim == 0:
      out[name] = float(array)
    else:
      out |= {f'{name}/{i}': float(x) for i, x in enumerate(array.reshape(-1))}
  return out


def _missing(package: str) -> str:
  return (
    f'{package} is not installed. It belongs to an extra: '
    "pip install 'interp_jax[logging]'."
  )
