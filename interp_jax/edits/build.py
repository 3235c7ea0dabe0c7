"""Builders: the usual ablations by name, and masks and grids over axes by name."""

from collections.abc import Iterable, Mapping, Sequence
import itertools
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import numpy as np

from interp_jax.core import get_site, unknown
from interp_jax.edits.ops import Add, ProjectOut, Replace

# What each axis of a site is called when a mask or a grid chooses along it.
AXIS_NAMES: Mapping[str, str] = {
  'L': 'layer',
  'B': 'batch',
  'T': 'position',
  'S': 'key_position',
  'H': 'head',
  'G': 'head',
  'D': 'unit',
  'K': 'unit',
  'M': 'unit',
  '1': 'unit',
}

Choice = int | np.integer | slice | Iterable[int] | np.ndarray


def zero_ablate(mask: Any = None) -> Replace:
  """Sets the activation to zero where `mask` holds."""
  return Replace(0.0, mask)


def mean_ablate(mean: Any, mask: Any = None) -> Replace:
  """Sets the activation to its mean over a data set where `mask` holds.

  Args:
    mean: The mean, broadcastable to `acts[site]`, e.g. `[L, 1, 1, D]`.
    mask: Where to ablate; None for everywhere.

  Returns:
    The edit.
  """
  return Replace(mean, mask)


def resample_ablate(other: Any, mask: Any = None) -> Replace:
  """Sets the activation to that of another run (activation patching).

  Args:
    other: `acts[site]` of the other run.
    mask: Where to patch; None for everywhere.

  Returns:
    The edit.
  """
  return Replace(other, mask)


def steer(direction: Any, mask: Any = None) -> Add:
  """Adds a direction where `mask` holds."""
  return Add(direction, mask)


def project_out(
  directions: Float[Array | np.ndarray, '*r X'], mask: Any = None
) -> ProjectOut:
  """Removes the span of some directions from the activation.

  Args:
    directions: One direction `[X]` or several `[R, X]`, linearly independent, X the
      last axis of the site.
    mask: Where to project; None for everywhere.

  Returns:
    The edit, with an orthonormal basis of the span.

  Raises:
    ValueError: if the directions are linearly dependent.
  """
  rows = np.atleast_2d(np.asarray(directions, np.float64))
  if np.linalg.matrix_rank(rows) < len(rows):
    raise ValueError(
      f'project_out: the {len(rows)} directions of shape {rows.shape} are linearly '
      'dependent (or zero). Give independent ones.'
    )
  basis = np.linalg.qr(rows.T)[0].T
  return ProjectOut(jnp.asarray(basis, jnp.asarray(directions).dtype), mask)


def select(
  site: str, shape: Sequence[int], **choices: Choice
) -> Bool[np.ndarray, '...']:
  """A mask over chosen layers, positions, heads, ...

  Args:
    site: The site's name.
    shape: The shape of `acts[site]`, layer axis included.
    **choices: Indices along named axes: `layer=3`, `position=[0, 1]`,
      `head=slice(2, 4)`. Names: layer, batch, position, key_position, head, unit.

  Returns:
    A boolean mask that broadcasts to `shape`: size 1 along axes not chosen.

  Raises:
    ValueError: if the site has no such axis or an index is out of range.
  """
  axes = _axis_indices(site)
  mask = np.ones([1] * len(axes), bool)
  for name, choice in choices.items():
    axis = _axis(site, name)
    along = np.zeros(shape[axis], bool)
    along[_indices(name, choice, shape[axis])] = True
    mask = mask & along.reshape([-1 if a == axis else 1 for a in range(len(axes))])
  return mask


def grid(
  site: str, shape: Sequence[int], over: Sequence[str]
) -> tuple[Bool[np.ndarray, 'W ...'], Int[np.ndarray, 'W A']]:
  """The masks of a sweep: one world for each point of a product of axes.

  Args:
    site: The site's name.
    shape: The shape of `acts[site]`, layer axis included.
    over: Names of axes, e.g. `('layer', 'head')`; the last varies fastest.

  Returns:
    Masks `[W, *broadcastable to shape]`, to `vmap` over, and the coordinates `[W, A]`
    of each world along `over`.

  Raises:
    ValueError: if the site has no such axis.
  """
  sizes = [shape[_axis(site, name)] for name in over]
  points = list(itertools.product(*(range(size) for size in sizes)))
  coordinates = np.array(points, int).reshape(len(points), len(sizes))
  masks = [
    select(site, shape, **dict(zip(over, map(int, p), strict=True))) for p in points
  ]
  return np.stack(masks), coordinates


def _axis_indices(site: str) -> dict[str, int]:
  """Index of each axis of `acts[site]` by its letter."""
  return {letter: i for i, letter in enumerate(get_site(site).full_axes)}


def _axis(site: str, name: str) -> int:
  named = {AXIS_NAMES[letter]: i for letter, i in _axis_indices(site).items()}
  if name not in named:
    raise ValueError(unknown(f'axis of site {site!r}', name, named))
  return named[name]


def _indices(name: str, choice: Choice, size: int) -> np.ndarray:
  if isinstance(choice, slice):
    return np.arange(size)[choice]
  indices = np.atleast_1d(np.asarray(choice))
  if indices.size and indices.dtype.kind not in 'iu':
    raise ValueError(
      f'{name}={choice!r}: give an index, several, or a slice. The indices of a '
      'boolean mask are np.flatnonzero(mask).'
    )
  if not ((-size <= indices) & (indices < size)).all():
    raise ValueError(f'{name}={choice!r} is out of range: the axis has size {size}.')
  return indices.astype(int)
