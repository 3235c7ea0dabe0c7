"""What this room asks of a config."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Config(Protocol):
  """What is read of a model's config, beside its parameters."""

  @property
  def norm(self) -> str: ...

  @property
  def norm_placement(self) -> str: ...

  @property
  def final_norm(self) -> bool: ...

  @property
  def final_rms(self) -> bool: ...

  @property
  def qk_norm(self) -> str: ...

  @property
  def tied(self) -> bool: ...

  @property
  def embed_scale(self) -> float: ...
