"""How early in the model an edit can change anything: its first layer and position.

A patch that puts a value where the same value stands changes nothing. So the patches of
one run into another reach no further than the two runs differ: behind the first token
that differs, in a causal model.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int
import numpy as np

from interp_jax import edits as edits_lib
from interp_jax.circuits.grid import Grid, layer_window
from interp_jax.circuits.restart import is_entrance
from interp_jax.core import SITES


@dataclasses.dataclass(frozen=True)
class Reach:
  """Where worlds first change something.

  Attributes:
    layers: First layer of each world; -1 where it changes something before the layers.
    positions: First position of each world; the number of positions where it changes
      nothing at all.
  """

  layers: Int[np.ndarray, 'W']
  positions: Int[np.ndarray, 'W']


def reach_of_grid(
  grid: Grid,
  changed: Bool[Array | np.ndarray, '...'],
  depth: int,
  window: int = 1,
) -> Reach:
  """That of every point of a grid.

  Args:
    grid: The grid.
    changed: Where the patched value differs from the base run's; broadcasts to the
      grid's shape.
    depth: The number of layers.
    window: Layers that are patched around a point's.

  Returns:
    The reach.
  """
  letters = grid.letters
  kept = {*grid.axes, *(i for i, letter in enumerate(letters) if letter in 'LT')}
  sizes = [size if i in kept else 1 for i, size in enumerate(grid.shape)]
  changed = np.broadcast_to(_any(changed, letters, kept), sizes)
  if window > 1 and 'layer' in grid.names:
    changed = _windowed(changed, window)
  chosen = dict(zip(grid.axes, grid.coordinates, strict=True))
  chosen = [list(chosen.get(i, range(size))) for i, size in enumerate(sizes)]
  rest = [i for i in range(len(letters)) if i not in grid.axes]
  points = grid.points()
  changed = np.transpose(changed[np.ix_(*chosen)], [*grid.axes, *rest])
  changed = changed.reshape(len(points), *(sizes[i] for i in rest))
  layers, positions = (
    _first(changed, rest, points, grid, name) for name in ('layer', 'position')
  )
  if grid.window_start(window):
    layers = np.maximum(layers - grid.window_start(window), 0)
  nothing = ~changed.any(tuple(range(1, changed.ndim)))
  length = grid.shape[letters.index('T')] if 'T' in letters else 1
  positions = np.where(nothing, length, positions)
  if not SITES[grid.site].layered:
    layers = np.full(len(points), -1 if is_entrance(grid.site) else depth - 1)
  return Reach(layers, positions)


def reach_of_edits(
  edits: edits_lib.Edits, base: Mapping[str, Any], depth: int, length: int
) -> tuple[int, int]:
  """The first layer (-1 for before the layers) and position that edits change.

  Args:
    edits: The edits of one world.
    base: Site → activation of the base run, for the sites that are replaced.
    depth: The number of layers.
    length: The number of positions.

  Returns:
    Layer and position; the numbers of both where nothing is changed.
  """
  firsts = [
    _of_edit(site, edit, base, depth, length)
    for site, sequence in edits_lib.as_tuples(edits).items()
    for edit in sequence
  ]
  layer = min((layer for layer, _ in firsts), default=depth)
  return layer, min((position for _, position in firsts), default=length)


def _of_edit(
  site: str, edit: edits_lib.Edit, base: Mapping[str, Any], depth: int, length: int
) -> tuple[int, int]:
  letters = SITES[site].full_axes
  kept = {i for i, letter in enumerate(letters) if letter in 'LT'}
  where = _any(_support(site, edit, base), letters, kept)
  if not where.any():
    return depth, length
  layers = where.any(tuple(range(1, where.ndim)))
  position = 0
  # A callable may mix positions.
  if 'T' in letters and not isinstance(edit, edits_lib.Splice):
    axis = letters.index('T')
    position = int(where.any(tuple(i for i in range(where.ndim) if i != axis)).argmax())
  if not SITES[site].layered:
    return (-1 if is_entrance(site) else depth - 1), position
  if isinstance(edit, edits_lib.Splice):
    return int(edit.layer), position
  return int(layers.argmax()), position


def _support(site: str, edit: edits_lib.Edit, base: Mapping[str, Any]) -> Any:
  """Where an edit may change the activation."""
  mask = getattr(edit, 'mask', None)
  mask = True if mask is None else jnp.asarray(mask)
  match edit:
    case edits_lib.Replace() if site in base:
      return mask & (jnp.asarray(edit.value, base[site].dtype) != base[site])
    case edits_lib.Interpolate():
      return jnp.asarray(edit.weight) != 0
    case edits_lib.Scale():
      return mask & (jnp.asarray(edit.factor) != 1)
    case edits_lib.Add():
      return mask & (jnp.asarray(edit.value) != 0)
  return jnp.asarray(mask)


def _any(changed: Any, letters: tuple[str, ...], kept: set[int]) -> np.ndarray:
  """Any along the axes that are not kept, in full rank."""
  changed = jnp.asarray(changed)
  changed = changed.reshape([1] * (len(letters) - changed.ndim) + list(changed.shape))
  others = tuple(i for i in range(len(letters)) if i not in kept)
  return np.asarray(changed.any(others, keepdims=True))


def _windowed(changed: np.ndarray, window: int) -> np.ndarray:
  """Whether anything changes in the window of each layer."""
  before, after = layer_window(window)
  out = np.zeros_like(changed)
  for layer in range(len(changed)):
    some = changed[max(0, layer - before) : layer + after]
    out[layer] = some.any(0)
  return out


def _first(
  changed: np.ndarray, rest: list[int], points: np.ndarray, grid: Grid, name: str
) -> np.ndarray:
  """Each point's index along an axis, or the first one where anything changes."""
  if name in grid.names:
    return points[:, grid.names.index(name)]
  letter = {'layer': 'L', 'position': 'T'}[name]
  if letter not in grid.letters:
    return np.zeros(len(points), int)
  axis = 1 + rest.index(grid.letters.index(letter))
  others = tuple(i for i in range(1, changed.ndim) if i != axis)
  return changed.any(others).argmax(1)


def differs(value: Any, base: jax.Array) -> jax.Array:
  """Where a value is not the base run's, bit for bit (but for signs of zero)."""
  return jnp.asarray(value, base.dtype) != base
