"""The result of a sweep: a labelled array."""

from collections.abc import Mapping
import dataclasses
import json
import os
from typing import Any

import numpy as np

from interp_jax.core import unknown


@dataclasses.dataclass(frozen=True)
class SweepResult:
  """The metric at every point of a grid.

  Attributes:
    sites: The sites that were patched.
    axes: The names of the grid's axes, in the order of `values`.
    coordinates: For each axis, the indices (for 'site', the names) along it.
    values: The metric, `[*grid, *shape of the metric]`.
    base: The metric of the run that was patched into.
    source: The metric of the run that activations came from; NaN where it is unknown.
  """

  sites: tuple[str, ...]
  axes: tuple[str, ...]
  coordinates: Mapping[str, tuple[Any, ...]]
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

  def at(self, **point: Any) -> np.ndarray:
    """The values at some coordinates: `at(layer=2, head=1)`, `at(site='z')`.

    Args:
      **point: Axis → coordinate; axes that are not named stay.

    Returns:
      The values, without the axes that are named.

    Raises:
      ValueError: if there is no such axis, or it has no such coordinate.
    """
    index: list[Any] = [slice(None)] * len(self.axes)
    for axis, coordinate in point.items():
      if axis not in self.axes:
        raise ValueError(unknown('axis', axis, self.axes))
      along = self.coordinates[axis]
      if coordinate not in along:
        raise ValueError(f'at: {axis}={coordinate!r} was not swept, which is {along}.')
      index[self.axes.index(axis)] = along.index(coordinate)
    return np.asarray(self.values[tuple(index)])

  def top(self, k: int) -> list[tuple[dict[str, Any], float]]:
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
      'sites': self.sites,
      'axes': self.axes,
      'coordinates': {k: list(v) for k, v in self.coordinates.items()},
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
    sites, axes = tuple(labels['sites']), tuple(labels['axes'])
    return cls(sites, axes, coordinates, **arrays)

  def _name(self, point: tuple[int, ...]) -> dict[str, Any]:
    return {
      axis: self.coordinates[axis][i] for axis, i in zip(self.axes, point, strict=True)
    }
