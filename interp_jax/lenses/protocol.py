"""What this room asks of a model."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Float, Int
import numpy as np


@runtime_checkable
class Model(Protocol):
  """Anything with `apply({'params': params}, tokens, edits) -> (logits, acts)`.

  The logit lens also passes `resid` `[B, T, D]` in the place of tokens, with `start`,
  the first layer to run, and `logit_positions`.
  """

  def apply(
    self,
    variables: Mapping[str, Any],
    tokens: Int[Array | np.ndarray, 'B T'] | None,
    edits: Mapping[str, Any] | None = None,
    **kwargs: Any,
  ) -> tuple[Float[Array, 'B P V'], Mapping[str, Any]]: ...


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
  def tied(self) -> bool: ...

  @property
  def embed_scale(self) -> float: ...
