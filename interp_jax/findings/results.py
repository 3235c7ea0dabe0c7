"""A finding's `result.json`: every quantity, its bound, the verdict, and the seeds."""

from collections.abc import Mapping
import dataclasses
from importlib import metadata
import math
import os
import pathlib
import platform
from typing import Any

import jax

from interp_jax.findings.finding import Finding, Outcome, Quantity

Json = dict[str, Any]
PACKAGES = ('jax', 'flax', 'optax', 'numpy', 'interp_jax')


def to_json(
  finding: Finding,
  outcome: Outcome,
  *,
  settings: Json,
  quick: bool,
  seed: int,
  seconds: Mapping[str, float],
  cpu_seconds: float,
  commit: str = '',
) -> Json:
  """Everything that a reader of the result needs, as JSON types.

  Args:
    finding: What was reproduced.
    outcome: What was found.
    settings: Of the reproduction.
    quick: Whether they are those of a quick look.
    seed: What all seeds are derived from.
    seconds: Of wall time, by stage, `'total'` among them.
    cpu_seconds: Of all cores.
    commit: Of the code, if it is known.
  """
  return {
    'finding': finding.name,
    'title': finding.title,
    'claim': finding.claim,
    'paper': finding.paper,
    'holds': outcome.holds,
    'quick': quick,
    'seed': seed,
    'seeds': outcome.seeds,
    'quantities': [_quantity(quantity) for quantity in outcome.quantities],
    'settings': settings,
    'seconds': dict(seconds),
    'cpu_seconds': cpu_seconds,
    'environment': environment(commit),
  }


def _quantity(quantity: Quantity) -> Json:
  values = {k: v for k, v in dataclasses.asdict(quantity).items() if k != 'values'}
  return values | {
    'values': [_plain(value) for value in quantity.values],
    'mean': _plain(quantity.mean),
    'worst': _plain(quantity.worst),
    'holds': quantity.holds,
  }


def _plain(value: float) -> float | None:
  """JSON has no NaN and no infinity."""
  return value if math.isfinite(value) else None


def environment(commit: str = '') -> dict[str, str]:
  """What the numbers may depend on besides the settings.

  Args:
    commit: Of the code, if it is known.
  """
  devices = jax.devices()
  found = {
    'devices': f'{len(devices)} × {devices[0].device_kind}',
    'cores': str(len(os.sched_getaffinity(0))),
    'python': platform.python_version(),
    **{name: metadata.version(name) for name in PACKAGES},
  }
  return found | ({'commit': commit} if commit else {})


def write_pictures(outcome: Outcome, folder: pathlib.Path) -> None:
  """Writes each picture as an SVG and as a PNG file.

  Args:
    outcome: What was found.
    folder: Where to; it is made if it is not there.
  """
  folder.mkdir(parents=True, exist_ok=True)
  for picture in (p for part in outcome.parts for p in part.pictures):
    for ending in ('svg', 'png'):
      # No date, so that the same picture is the same file.
      picture.figure.savefig(
        folder / f'{picture.name}.{ending}',
        dpi=160,
        facecolor='white',
        metadata={'Date': None} if ending == 'svg' else {'Software': None},
      )
