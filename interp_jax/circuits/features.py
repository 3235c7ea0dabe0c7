"""Patching the features of a dictionary that is spliced into the model.

The base run's activation is the dictionary's output plus an error. A feature's code is
set to another value, and nothing else changes: the other codes and the error stay, so
that a feature whose code is the same in both runs has no effect.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from interp_jax import edits
from interp_jax.circuits.grid import Grid, make_grid
from interp_jax.core import SITES

_LETTERS = ('L', 'B', 'T', 'F')


@runtime_checkable
class Dictionary(Protocol):
  """Any callable pytree with these, e.g. `interp_jax.dictionaries.Dictionary`."""

  def encode(self, x: Any) -> Any:
    """The codes `[..., F]` of activations `[..., D]`."""
    ...

  def decode(self, codes: Any) -> Any:
    """The activations that codes stand for."""
    ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PatchFeature:
  """Point of a grid of features → the edit that sets their codes there.

  Attributes:
    dictionary: The dictionary.
    codes: The codes of the base run, `[B, T, F]`.
    others: What codes become, broadcastable to them.
    act: The base run's activation in the dictionary's layer, `[B, T, D]`.
    within: A mask `[B, T, 1]` or the like to stay inside of, or None.
    grid: The grid, over `[L, B, T, F]`.
    layer: The dictionary's layer.
  """

  dictionary: Any
  codes: Any
  others: Any
  act: Any
  within: Any
  grid: Grid = dataclasses.field(metadata={'static': True})
  layer: int = dataclasses.field(metadata={'static': True})

  def __call__(self, point: Int[jax.Array, 'A']) -> dict[str, edits.Edit]:
    at = dict(zip(self.grid.names, point, strict=True))
    codes, others, act = (
      jnp.broadcast_to(leaf, (*self.codes.shape[:2], leaf.shape[-1]))
      for leaf in (self.codes, self._full(self.others), self.act)
    )
    depth, batch, length, features = self.grid.shape
    mask = (jnp.arange(depth) == self.layer)[:, None, None, None]
    if 'batch' in at:
      mask = mask & (jnp.arange(batch) == at['batch'])[:, None, None]
    if 'position' in at:  # Only there is anything decoded.
      mask = mask & (jnp.arange(length) == at['position'])[:, None]
      take = lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, at['position'], 1, 1)
      codes, others, act = take(codes), take(others), take(act)
    if self.within is not None:
      mask = mask & self.within
    chosen = True
    if 'feature' in at:
      chosen = jnp.arange(features) == at['feature']
    decode = self.dictionary.decode
    changed = decode(jnp.where(chosen, others, codes)) - decode(codes)
    return {self.grid.site: edits.Replace(act + changed.astype(act.dtype), mask)}

  def _full(self, others: Any) -> jax.Array:
    return jnp.broadcast_to(others, self.codes.shape)


def feature_grid(
  site: str,
  shape: Sequence[int],
  features: int,
  over: Sequence[str],
  at: Mapping[str, Sequence[int]] | None,
) -> tuple[Grid, int]:
  """The grid of a sweep over features, and the layer that the dictionary reads.

  Args:
    site: The site that the dictionary reads.
    shape: The shape of `acts[site]`.
    features: The number of features.
    over: Of 'feature', 'position' and 'batch'.
    at: Axis → indices; its 'layer' says the one layer of the dictionary.

  Returns:
    The grid and the layer.

  Raises:
    ValueError: if the layer is not given, or an axis is not one of these.
  """
  at = dict(at or {})
  layers = tuple(at.pop('layer', range(shape[0])))
  if len(layers) != 1 or not 0 <= layers[0] < shape[0]:
    raise ValueError(
      f'A dictionary belongs to one layer of 0..{shape[0] - 1}; got {layers}. Say '
      "which by at={'layer': [l]}."
    )
  over = tuple(name for name in over if name != 'layer')
  full = (*shape[:3], features)
  return make_grid(site, full, over, at, _LETTERS), int(layers[0])


def check_site(site: str) -> None:
  """Refuses sites that a dictionary cannot read.

  Raises:
    ValueError: if there is not one vector at each position inside the layers.
  """
  axes = SITES[site].full_axes
  if axes[:3] != ('L', 'B', 'T') or len(axes) != 4:
    raise ValueError(
      f'A dictionary reads a vector at each position inside the layers; site {site!r} '
      f'has the axes {", ".join(axes)}.'
    )


def encode(dictionary: Dictionary, act: Float[Array, 'B T D']) -> Float[Array, 'B T F']:
  """The codes of an activation, compiled once for all dictionaries of a shape."""
  return _encode(dictionary, act)


@jax.jit
def _encode(dictionary: Any, act: jax.Array) -> jax.Array:
  return dictionary.encode(act)
