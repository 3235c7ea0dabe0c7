"""The grid of a sweep: named axes of a site, their points, and the patch at a point."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Int
import numpy as np

from interp_jax import edits
from interp_jax.core import get_site, unknown

_AXIS_NAMES = {**edits.AXIS_NAMES, 'E': 'expert', 'C': 'choice', 'F': 'feature'}


@dataclasses.dataclass(frozen=True)
class Grid:
  """A product of axes of one site.

  Attributes:
    site: The site's name.
    names: The names of the axes that are swept.
    axes: Where they are in `acts[site]`.
    coordinates: For each of them, the indices that are swept.
    shape: The shape of `acts[site]`, or of the codes of a dictionary on it.
    letters: The letters of that shape.
  """

  site: str
  names: tuple[str, ...]
  axes: tuple[int, ...]
  coordinates: tuple[tuple[int, ...], ...]
  shape: tuple[int, ...]
  letters: tuple[str, ...]

  @property
  def sizes(self) -> tuple[int, ...]:
    """The number of points along each axis."""
    return tuple(map(len, self.coordinates))

  def window_start(self, window: int) -> int:
    """How many layers before a point's its window begins."""
    return layer_window(window)[0] if 'layer' in self.names else 0

  def points(self) -> Int[np.ndarray, 'W A']:
    """The indices of every point; the last axis varies fastest."""
    mesh = np.meshgrid(*self.coordinates, indexing='ij')
    return np.stack(mesh, -1).reshape(-1, len(self.axes)).astype(np.int32)


def make_grid(
  site: str,
  shape: Sequence[int],
  over: Sequence[str] | str,
  at: Mapping[str, Sequence[int]] | None = None,
  letters: Sequence[str] | None = None,
) -> Grid:
  """The grid over some axes of a site.

  Args:
    site: The site's name.
    shape: The shape of `acts[site]`, layer axis included.
    over: Names of axes, e.g. `('layer', 'head')`.
    at: Name of an axis → the indices to sweep, where not all.
    letters: The letters of the shape, where it is not that of the activation.

  Returns:
    The grid.

  Raises:
    ValueError: if the site has no such axis, an axis is named twice, or an index is
      out of range.
  """
  over = (over,) if isinstance(over, str) else tuple(over)
  at = at or {}
  letters = tuple(letters or get_site(site).full_axes)
  named = {_AXIS_NAMES[letter]: i for i, letter in enumerate(letters)}
  for name in over:
    if name not in named:
      raise ValueError(unknown(f'axis of site {site!r}', name, named))
  if len(set(over)) < len(over) or not over:
    raise ValueError(f'over is {over}: name one axis or more, each once.')
  if set(at) - set(over):
    raise ValueError(f'at is given for {sorted(set(at) - set(over))}: not in {over}.')
  axes = tuple(named[name] for name in over)
  coordinates = tuple(
    _indices(name, at.get(name), shape[axis])
    for name, axis in zip(over, axes, strict=True)
  )
  return Grid(site, over, axes, coordinates, tuple(shape), letters)


def _indices(name: str, given: Sequence[int] | None, size: int) -> tuple[int, ...]:
  if given is None:
    return tuple(range(size))
  indices = tuple(int(i) for i in given)
  if not indices or not all(0 <= i < size for i in indices):
    raise ValueError(f'at[{name!r}] is {indices}: give indices from 0 to {size - 1}.')
  return indices


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PatchPoint:
  """Point of a grid → the edit that patches there: `edits_of` of a sweep.

  Attributes:
    value: What to patch in; broadcasts to `acts[site]`.
    within: A mask to stay inside of, or None.
    grid: The grid.
    window: Layers around the point's that are patched with it.
  """

  value: Any
  within: Any
  grid: Grid = dataclasses.field(metadata={'static': True})
  window: int = dataclasses.field(default=1, metadata={'static': True})

  def __call__(self, point: Int[jax.Array, 'A']) -> dict[str, edits.Edit]:
    mask = point_mask(self.grid, point, self.window)
    if self.within is not None:
      mask = mask & self.within
    return {self.grid.site: edits.Replace(self.value, mask)}


def point_mask(
  grid: Grid, point: Int[jax.Array, 'A'], window: int = 1
) -> Bool[jax.Array, '...']:
  """The mask `[L or 1, ...]` that holds at one point (which may be traced).

  Args:
    grid: The grid.
    point: The point.
    window: How many layers it holds at: from `window // 2` before the point's on.

  Returns:
    The mask.
  """
  mask = jnp.ones([1] * len(grid.shape), bool)
  for name, axis, index in zip(grid.names, grid.axes, point, strict=True):
    before, after = layer_window(window) if name == 'layer' else (0, 1)
    offset = jnp.arange(grid.shape[axis]) - index
    along = (offset >= -before) & (offset < after)
    mask &= along.reshape([-1 if a == axis else 1 for a in range(len(grid.shape))])
  return mask


def layer_window(window: int) -> tuple[int, int]:
  """How far a window goes before a layer, and after (Meng et al. 2022)."""
  return window // 2, window - window // 2
