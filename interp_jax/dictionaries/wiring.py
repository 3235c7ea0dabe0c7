"""Wirings: what a dictionary reads and what it writes.

One of the three choices that make a dictionary, with `activation` and `objective`. A
wiring names the parameters and their shapes, and says how inputs become pre-activations
and how codes become outputs. The codes may be dense, `[B, F]`, or sparse, a pair
of values and indices `[B, k]` (`SparseCodes`).
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from interp_jax.core import unknown
from interp_jax.dictionaries import kernels
from interp_jax.dictionaries.activation import Activation

Params = dict[str, Any]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SparseCodes:
  """Codes of which k of F are active.

  Attributes:
    values: `[B, k]`, largest first, never negative.
    indices: `[B, k]`, the features.
  """

  values: Any
  indices: Any


Codes = Any  # Float[Array, 'B F'] | SparseCodes


@dataclasses.dataclass(frozen=True)
class Autoencoder:
  """Reads an activation and writes the same activation.

      codes = act((x - b_dec) W_enc + b_enc)      output = codes W_dec + b_dec

  with `W_enc [D, F]`, `b_enc [F]`, `W_dec [F, D]`, `b_dec [D]` (Bricken et al. 2023;
  Gao et al. 2024, equation 1).
  """

  name: ClassVar[str] = 'autoencoder'

  def shapes(self, width: int, features: int) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter."""
    return {
      'W_enc': (width, features),
      'b_enc': (features,),
      'W_dec': (features, width),
      'b_dec': (width,),
    }

  def init(
    self, key: Array, width: int, features: int, center: Float[Array, ' D']
  ) -> Params:
    """Random unit directions in the decoder, the encoder their transpose.

    Args:
      key: A PRNG key.
      width: `D`.
      features: `F`.
      center: The initial `b_dec`: the mean or the geometric median of the data.

    Returns:
      The parameters, float32.
    """
    rows = jax.random.normal(key, (features, width))
    rows = rows / jnp.linalg.norm(rows, axis=-1, keepdims=True)
    return {
      'W_enc': rows.T,
      'b_enc': jnp.zeros(features),
      'W_dec': rows,
      'b_dec': jnp.asarray(center, jnp.float32),
    }

  def targets(self, x: Float[Array, 'B D']) -> Float[Array, 'B D']:
    """What the output should be: the input."""
    return x

  def pre_activations(
    self, params: Params, x: Float[Array, 'B D']
  ) -> Float[Array, 'B F']:
    """What the activation is applied to."""
    return (x - params['b_dec']) @ params['W_enc'] + params['b_enc']

  def pre_activations_of(
    self, params: Params, x: Float[Array, 'B D'], chosen: Int[Array, ' P']
  ) -> Float[Array, 'B P']:
    """The pre-activations of some features only."""
    W_enc, b_enc = params['W_enc'][:, chosen], params['b_enc'][chosen]
    return (x - params['b_dec']) @ W_enc + b_enc

  def encode(
    self,
    params: Params,
    x: Float[Array, 'B D'],
    activation: Activation,
    impl: str = 'auto',
  ) -> Codes:
    """The codes: sparse where the activation fixes how many are active."""
    if activation.sparse_k is None:
      return activation.dense(self.pre_activations(params, x))
    W_enc, b_enc, b_dec = params['W_enc'], params['b_enc'], params['b_dec']
    k = activation.sparse_k
    return SparseCodes(*kernels.encode_topk(x, b_dec, W_enc, b_enc, k, impl))

  def decode(
    self, params: Params, codes: Codes, impl: str = 'auto'
  ) -> Float[Array, 'B D']:
    """The output, from dense or from sparse codes."""
    if isinstance(codes, SparseCodes):
      linear = kernels.decode_topk(codes.values, codes.indices, params['W_dec'], impl)
    else:
      linear = codes @ params['W_dec']
    return linear + params['b_dec']

  def fold_scale(self, params: Params, scale: Float[Array, '']) -> Params:
    """Parameters for raw inputs, from parameters trained on inputs times `scale`.

    The output is the trained one divided by `scale`. The codes are divided by it too,
    so the decoder's rows keep their norm; that is exact for activations that commute
    with multiplication by a positive number, as ReLU and TopK do.
    """
    return params | {
      'b_enc': params['b_enc'] / scale,
      'b_dec': params['b_dec'] / scale,
    }


Wiring = Autoencoder
WIRINGS: Mapping[str, type] = {cls.name: cls for cls in (Autoencoder,)}


def get_wiring(name: str) -> Wiring:
  """The wiring of a name.

  Args:
    name: A key of `WIRINGS`.

  Returns:
    The wiring.

  Raises:
    ValueError: if there is none.
  """
  if name not in WIRINGS:
    raise ValueError(unknown('wiring', name, WIRINGS))
  return WIRINGS[name]()
