"""The tap: where an activation is edited on its way and kept."""

from collections.abc import Mapping

import jax

from interp_jax.edits import Edit, apply_all


class Tap:
  """Edits and collects the activations of one stretch of the forward pass.

  It lives while one function is traced and is passed as an argument: `tap(site, act)`
  returns the edited activation and keeps it in `acts`.

  Attributes:
    acts: Site → activation, edits applied.
  """

  def __init__(
    self, edits: Mapping[str, tuple[Edit, ...]], layer: jax.Array | None = None
  ):
    """Starts with no activations.

    Args:
      edits: Site → edits, of this layer.
      layer: The layer's index; None outside the layers.
    """
    self._edits = edits
    self._layer = layer
    self.acts: dict[str, jax.Array] = {}

  def __call__(self, site: str, act: jax.Array) -> jax.Array:
    """The activation after its edits."""
    act = apply_all(self._edits, site, act, self._layer)
    self.acts[site] = act
    return act
