"""What a dictionary reads in a model, and what its output replaces.

The two are the same for an autoencoder. A transcoder reads the input of an MLP and
replaces its output; a crosscoder reads and replaces one site of several layers,
`[..., S, D]`; a cross-layer transcoder does both.

What replaces another activation than it reads is computed from the acts of *the clean
run*. Within one layer that is the same thing: nothing that was read has changed in the
spliced run. Over several layers each output is as if the model's own activations had
been read everywhere, and not what became of them after the earlier replacements.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
import numpy as np

from interp_jax import edits

Layers = int | tuple[int, ...]


def several(layers: Layers) -> tuple[int, ...]:
  """The layers as a tuple."""
  return (layers,) if isinstance(layers, int) else layers


@dataclasses.dataclass(frozen=True)
class Places:
  """Where a dictionary reads and writes.

  Attributes:
    site: The site that it reads, inside the layers, with axes `[L, B, T, D]`.
    layer: The layer; or layers, which it reads as `[B, T, S, D]`.
    write_site: The site that its output replaces.
    write_layer: The layer or layers of that.
    layers: How many layers the model has.
  """

  site: str
  layer: Layers
  write_site: str
  write_layer: Layers
  layers: int

  def __post_init__(self) -> None:
    read, written = several(self.layer), several(self.write_layer)
    for layer in (*read, *written):
      if not 0 <= layer < self.layers:
        raise ValueError(
          f'layer={layer} of a model of {self.layers} layers (0..{self.layers - 1}).'
        )
    if min(written) < min(read):
      raise ValueError(
        f'The output would replace layer {self.write_layer}, and the input is of layer '
        f'{self.layer}, after it. A dictionary writes where it reads, or later.'
      )

  @property
  def in_place(self) -> bool:
    """Whether it is one activation that is read and replaced."""
    same = (self.site, self.layer) == (self.write_site, self.write_layer)
    return same and isinstance(self.layer, int)

  def splice(self, dictionary: Any, acts: Any, at: Bool[Array, 'B T']) -> Any:
    """The edits that put the dictionary's output in its place.

    Args:
      dictionary: A callable pytree.
      acts: The acts of the clean run.
      at: At which positions.
    """
    if self.in_place:
      mask = at[..., None]
      return {self.site: edits.Splice(dictionary, layer=self.layer, mask=mask)}
    read = acts[self.site]
    if isinstance(self.layer, int):
      return self._replace(dictionary(read[self.layer]), at)
    return self._replace(
      dictionary(jnp.moveaxis(read[np.array(self.layer)], 0, -2)), at
    )

  def ablate(self, value: Float[Array, '... D'], at: Bool[Array, 'B T']) -> Any:
    """The edits that put a constant there.

    Args:
      value: `[D]`, or `[S, D]` for several layers.
      at: At which positions.
    """
    return self._replace(value[None, None], at)

  def _replace(self, values: Array, at: Array) -> Any:
    """The edit for values `[B, T, D]`, or `[B, T, S, D]`, with B and T possibly 1."""
    if not isinstance(self.write_layer, int):
      by_layer = jnp.moveaxis(values, -2, 0)
      zeros = jnp.zeros((self.layers, *by_layer.shape[1:]), values.dtype)
      values = zeros.at[np.array(self.write_layer)].set(by_layer)
    here = np.isin(np.arange(self.layers), several(self.write_layer))
    mask = here[:, None, None, None] & at[None, ..., None]
    return {self.write_site: edits.Replace(values, mask)}
