"""Normalizations of single inputs, which other libraries compute at run time.

| name            | rows from inputs x                   | outputs from o           |
|-----------------|--------------------------------------|--------------------------|
| `none`          | `x`                                  | `o`                      |
| `layer_norm`    | `(x - mean) / (std + 1e-5)`          | `o std + mean`           |
| `constant_norm` | `x sqrt(D) / norm(x)`                | `o norm(x) / sqrt(D)`    |

The standard deviation is the unbiased one, over D - 1, and the small number is added
after the root: so have OpenAI's TopK autoencoders (Gao et al. 2024, 2406.04093) and
SAELens's `layer_norm`, of whose weights another layer norm would make other codes.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

NORMALIZATIONS = ('none', 'layer_norm', 'constant_norm')
_EPS = 1e-5


class Normalized(NamedTuple):
  """Inputs that have been normalized.

  Attributes:
    rows: The inputs, normalized.
    scale: What outputs are multiplied by to be in the inputs' units.
    shift: What is then added to them.
  """

  rows: Float[Array, 'B *in']
  scale: Float[Array, 'B *one'] | float
  shift: Float[Array, 'B *one'] | float

  def restore(self, out: Float[Array, 'B *in']) -> Float[Array, 'B *in']:
    """Outputs in the units of the inputs."""
    return out * self.scale + self.shift


def normalized(how: str, x: Float[Array, 'B *in']) -> Normalized:
  """Normalizes each input over its last axis.

  Args:
    how: One of `NORMALIZATIONS`.
    x: Inputs.

  Returns:
    The rows, and what undoes it. An input of zeros stays what it is.
  """
  if how == 'none':
    return Normalized(x, 1.0, 0.0)
  if how == 'layer_norm':
    mean = jnp.mean(x, -1, keepdims=True)
    std = jnp.std(x, -1, ddof=1, keepdims=True)
    return Normalized((x - mean) / (std + _EPS), std, mean)
  scale = jnp.linalg.norm(x, axis=-1, keepdims=True) / x.shape[-1] ** 0.5
  return Normalized(x / jnp.where(scale > 0, scale, 1), scale, 0.0)
