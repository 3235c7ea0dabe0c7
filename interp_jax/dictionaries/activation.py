"""Activations: from pre-activations to codes, `[..., F]` to `[..., F]`.

One of the three choices that make a dictionary, with `wiring` and `objective`. An
activation is a frozen dataclass, so that it can be part of a config, be hashed by `jit`
and be written as JSON.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from interp_jax.core import unknown
from interp_jax.dictionaries import kernels


@dataclasses.dataclass(frozen=True)
class ReLU:
  """`max(pre, 0)`: as many features as are positive. Needs a sparsity objective."""

  name: ClassVar[str] = 'relu'

  @property
  def sparse_k(self) -> int | None:
    """The number of active features where it is fixed: here it is not."""
    return None

  def dense(self, pre: Float[Array, '*batch F']) -> Float[Array, '*batch F']:
    """The codes."""
    return jax.nn.relu(pre)

  def check(self, features: int) -> None:
    """Any number of features is fine."""


@dataclasses.dataclass(frozen=True)
class TopK:
  """Keeps the k largest pre-activations, rectified (Makhzani & Frey 2013, 1312.5663).

  As in Gao et al. 2024 (2406.04093): exactly k features are kept, and those that are
  negative are zero.

  Attributes:
    k: How many features to keep.
  """

  k: int = 32
  name: ClassVar[str] = 'topk'

  @property
  def sparse_k(self) -> int | None:
    """The number of active features."""
    return self.k

  def dense(self, pre: Float[Array, '*batch F']) -> Float[Array, '*batch F']:
    """The codes, zero but for the k largest."""
    flat = pre.reshape(-1, pre.shape[-1])
    values, indices = kernels.select(flat, self.k)
    codes = kernels.scatter_dense(jax.nn.relu(values), indices, pre.shape[-1])
    return codes.reshape(pre.shape)

  def check(self, features: int) -> None:
    """Raises unless k is between 1 and the number of features."""
    if not 1 <= self.k <= features:
      raise ValueError(
        f'TopK: k={self.k} of {features} features. Choose k between 1 and {features}.'
      )


Activation = ReLU | TopK
ACTIVATIONS: Mapping[str, type] = {cls.name: cls for cls in (ReLU, TopK)}


def to_dict(activation: Activation) -> dict[str, Any]:
  """The activation as plain data, e.g. `{'name': 'topk', 'k': 32}`."""
  return {'name': activation.name, **dataclasses.asdict(activation)}


def from_dict(data: Mapping[str, Any]) -> Activation:
  """The activation that `to_dict` wrote.

  Args:
    data: Its `name` and its attributes.

  Returns:
    The activation.

  Raises:
    ValueError: if there is no such activation or it has no such attribute.
  """
  given = dict(data)
  name = given.pop('name', None)
  if name not in ACTIVATIONS:
    raise ValueError(unknown('activation', name, ACTIVATIONS))
  cls = ACTIVATIONS[name]
  fields = [field.name for field in dataclasses.fields(cls)]
  for key in given:
    if key not in fields:
      raise ValueError(unknown(f'attribute of activation {name!r}', key, fields))
  return cls(**given)


def active(codes: Float[Array, '*batch F']) -> Float[Array, '*batch']:
  """L0: how many features are not zero."""
  return jnp.sum(codes != 0, -1).astype(codes.dtype)
