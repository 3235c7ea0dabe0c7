"""All wirings by name, and as plain data."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from interp_jax.core import known, unknown
from interp_jax.dictionaries.cross_layer import CrossLayerTranscoder
from interp_jax.dictionaries.wiring import Autoencoder, Crosscoder, Transcoder

Wiring = Autoencoder | Transcoder | Crosscoder | CrossLayerTranscoder
WIRINGS: Mapping[str, type] = {
  cls.name: cls for cls in (Autoencoder, Transcoder, Crosscoder, CrossLayerTranscoder)
}


def to_dict(wiring: Wiring) -> dict[str, Any]:
  """The wiring as plain data, e.g. `{'name': 'crosscoder', 'sources': 2}`."""
  return {'name': wiring.name, **dataclasses.asdict(wiring)}


def from_dict(data: Mapping[str, Any] | str) -> Wiring:
  """The wiring that `to_dict` wrote, or that has this name and nothing to set.

  Raises:
    ValueError: if there is no such wiring or it has no such attribute.
  """
  given = {'name': data} if isinstance(data, str) else dict(data)
  name = given.pop('name', None)
  if name not in WIRINGS:
    raise ValueError(unknown('wiring', name, WIRINGS))
  cls = WIRINGS[name]
  return cls(**known(cls, given, f'attribute of wiring {name!r}'))
