"""The shape of a dictionary as plain, frozen data."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from interp_jax.core import known, unknown
from interp_jax.dictionaries import activation as activations
from interp_jax.dictionaries import wirings
from interp_jax.dictionaries.activation import Activation, TopK
from interp_jax.dictionaries.normalize import NORMALIZATIONS
from interp_jax.dictionaries.wiring import Autoencoder
from interp_jax.dictionaries.wirings import Wiring


@dataclasses.dataclass(frozen=True)
class DictionaryConfig:
  """What a dictionary computes; how it was trained is `TrainerConfig`'s matter.

  Attributes:
    width: `D`, the width of the activations that it reads.
    features: `F`, the number of its features; of each layer, for a cross-layer
      transcoder.
    activation: From what the encoder computes to codes.
    wiring: What it reads and writes.
    site: The site whose activations it reads; None where there is no model.
    layer: The layer of the site.
    out_site: The site that it writes, where it is not the one that it reads.
    out_layer: The layer of that site.
    normalize: What is done to each input before anything else, and undone to the
      output, one of `normalize.NORMALIZATIONS`. Nothing here trains with it, other
      libraries do: `TrainerConfig` scales by one number and folds it into the weights.
    joins_heads: Whether the D of an input are all heads' one after the other, so that
      activations `[..., H, K]` are read as `[..., H K]`.
  """

  width: int
  features: int
  activation: Activation = TopK()  # noqa: RUF009, it is frozen
  wiring: Wiring = Autoencoder()  # noqa: RUF009, it is frozen
  site: str | None = None
  layer: int | None = None
  out_site: str | None = None
  out_layer: int | None = None
  normalize: str = 'none'
  joins_heads: bool = False

  def __post_init__(self) -> None:
    for name in ('width', 'features'):
      if getattr(self, name) < 1:
        raise ValueError(f'{name}={getattr(self, name)}: it must be at least 1.')
    if self.normalize not in NORMALIZATIONS:
      raise ValueError(unknown('normalize', self.normalize, NORMALIZATIONS))
    if not isinstance(self.wiring, Autoencoder):
      for name, off in (('normalize', 'none'), ('joins_heads', False)):
        if getattr(self, name) != off:
          raise ValueError(
            f'{name}={getattr(self, name)!r} of a {self.wiring.name}: only an '
            f"autoencoder's output is in its input's units. Leave it at {off!r}."
          )
    self.wiring.check(self.width)
    self.activation.check(self.features)

  @property
  def in_shape(self) -> tuple[int, ...]:
    """The shape of an input: `(D,)`, `(S, D)` or `(L, D)`."""
    return self.wiring.in_shape(self.width)

  @property
  def out_shape(self) -> tuple[int, ...]:
    """The shape of an output."""
    return self.wiring.out_shape(self.width)

  @property
  def code_shape(self) -> tuple[int, ...]:
    """`C`, the shape of the codes of an example: `(F,)` or `(L, F)`."""
    return self.wiring.codes_of(self.features)

  @property
  def reads(self) -> tuple[str | None, int | None]:
    """Site and layer of the inputs."""
    return self.site, self.layer

  @property
  def writes(self) -> tuple[str | None, int | None]:
    """Site and layer of the outputs."""
    if self.out_site is None:
      return self.reads
    return self.out_site, self.layer if self.out_layer is None else self.out_layer

  def shapes(self) -> dict[str, Any]:
    """The shape of every parameter, by name."""
    own = self.activation.init(self.code_shape)
    return self.wiring.shapes(self.width, self.features) | {
      name: tuple(value.shape) for name, value in own.items()
    }

  def to_dict(self) -> dict[str, Any]:
    """As plain data, for JSON."""
    fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    return fields | {
      'activation': activations.to_dict(self.activation),
      'wiring': wirings.to_dict(self.wiring),
    }

  @classmethod
  def from_dict(cls, data: Mapping[str, Any]) -> 'DictionaryConfig':
    """The config that `to_dict` wrote.

    Raises:
      ValueError: if a field is unknown or a value is not allowed.
    """
    given = known(cls, data, 'field of a dictionary config')
    if isinstance(given.get('activation'), Mapping):
      given['activation'] = activations.from_dict(given['activation'])
    if isinstance(given.get('wiring'), Mapping | str):
      given['wiring'] = wirings.from_dict(given['wiring'])
    return cls(**given)
