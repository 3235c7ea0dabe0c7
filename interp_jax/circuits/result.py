"""The result of a sweep: a labelled array."""

from collections.abc import Mapping
import dataclasses
import json
import os
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class SweepResult:
  """The metric at every point of a grid.

  Attributes:
    site: The site that was patched.
    axes: The names of the grid's axes, in the order of `values`.
    coordinates: For each axis, the indices along it.
    values: The metric, `[*grid, *shape of the metric]`.
    base: The metric of the run that was patched into.
    source: The metric of the run that activations came from; NaN where it is unknown.
  """

  site: str
  axes: tuple[str, ...]
  coordinates: Mapping[str, tuple[int, ...]]
  values: np.ndarray
  base: np.ndarray
  source: np.ndarray

  @property
  def effect(self) -> np.ndarray:
    """`(m - m_base) / (m_source - m_base)`: 0 as the base run, 1 as the source run.

    In denoising (base corrupted, source clean) this is the share of the behaviour
    that a point restores, in noising (base clean) the share that it destroys.

    Raises:
      ValueError: if the source's metric is not known, or equals the base's.
    """
    span = self.source - self.base
    if np.isnan(span).any():
      raise ValueError(
        'The effect needs the metric of the source run, which is not known: sweep with '
        "the source's tokens, or use `values`."
      )
    if (span == 0).any():
      raise ValueError(
        'The effect is not defined: base and source have the same metric '
        f'({np.ravel(self.base)[0]:.4g}). Use `values`.'
      )
    return (self.values - self.base) / span

  def top(self, k: int) -> list[tuple[dict[str, int], float]]:
    """The k points with the largest effect in absolute value.

    Args:
      k: How many.

    Returns:
      Pairs of the point, axis → index, and its effect (mean over what the metric
      returns more than one of).
    """
    grid = self.values.shape[: len(self.axes)]
    effect = self.effect.reshape(*grid, -1).mean(-1)
    order = np.argsort(-np.abs(effect), axis=None)[:k]
    points = [tuple(map(int, np.unravel_index(i, grid))) for i in order]
    return [(self._name(point), float(effect[point])) for point in points]

  def save(self, path: str | os.PathLike) -> None:
    """Writes an `.npz` file."""
    labels = {
      'site': self.site,
      'axes': self.axes,
      'coordinates': {k: [int(i) for i in v] for k, v in self.coordinates.items()},
    }
    arrays = {'values': self.values, 'base': self.base, 'source': self.source}
    with open(path, 'wb') as file:
      np.savez(file, labels=np.array(json.dumps(labels)), **arrays)

  @classmethod
  def load(cls, path: str | os.PathLike) -> 'SweepResult':
    """Reads what `save` wrote."""
    with np.load(path, allow_pickle=False) as file:
      labels: dict[str, Any] = json.loads(str(file['labels']))
      arrays = {name: file[name] for name in ('values', 'base', 'source')}
    coordinates = {k: tuple(v) for k, v in labels['coordinates'].items()}
    return cls(labels['site'], tuple(labels['axes']), coordinates, **arrays)

  def _name(self, point: tuple[int, ...]) -> dict[str, int]:
    return {
      axis: self.coordinates[axis][i] for axis, i in zip(self.axes, point, strict=True)
    }
