"""The shape of a dictionary as plain, frozen data."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from interp_jax.core import unknown
from interp_jax.dictionaries import activation as activations
from interp_jax.dictionaries.activation import Activation, TopK
from interp_jax.dictionaries.wiring import Wiring, get_wiring


@dataclasses.dataclass(frozen=True)
class DictionaryConfig:
  """What a dictionary computes; how it was trained is `TrainerConfig`'s matter.

  Attributes:
    width: `D`, the width of the activations that it reads.
    features: `F`, the number of its features.
    activation: From pre-activations to codes.
    wiring: What it reads and writes: a key of `wiring.WIRINGS`.
    site: The site whose activations it reads; None where there is no model.
    layer: The layer of the site.
  """

  width: int
  features: int
  activation: Activation = TopK()  # noqa: RUF009, it is frozen
  wiring: str = 'autoencoder'
  site: str | None = None
  layer: int | None = None

  def __post_init__(self) -> None:
    for name in ('width', 'features'):
      if getattr(self, name) < 1:
        raise ValueError(f'{name}={getattr(self, name)}: it must be at least 1.')
    get_wiring(self.wiring)
    self.activation.check(self.features)

  @property
  def wires(self) -> Wiring:
    """The wiring itself."""
    return get_wiring(self.wiring)

  def to_dict(self) -> dict[str, Any]:
    """As plain data, for JSON."""
    fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    return fields | {'activation': activations.to_dict(self.activation)}

  @classmethod
  def from_dict(cls, data: Mapping[str, Any]) -> 'DictionaryConfig':
    """The config that `to_dict` wrote.

    Raises:
      ValueError: if a field is unknown or a value is not allowed.
    """
    fields = [field.name for field in dataclasses.fields(cls)]
    for name in data:
      if name not in fields:
        raise ValueError(unknown('field of a dictionary config', name, fields))
    given = dict(data)
    if isinstance(given.get('activation'), Mapping):
      given['activation'] = activations.from_dict(given['activation'])
    return cls(**given)
