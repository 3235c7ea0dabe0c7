"""Cross-layer transcoders: the codes of a layer write to it and to all later layers."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from interp_jax.dictionaries import kernels
from interp_jax.dictionaries.activation import Plan
from interp_jax.dictionaries.codes import Codes, SparseCodes
from interp_jax.dictionaries.wiring import compared, decode_rows, row_norms

Params = dict[str, Any]
Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class CrossLayerTranscoder:
  """Stands in for the MLPs of all layers at once (Ameisen et al. 2025).

      codes_l = act(x_l W_enc_l + b_enc_l)
      output_m = sum_{l <= m} codes_l W_dec_{l,m} + b_dec_m (+ x_m W_skip_m)

  Inputs are what the MLPs of the layers read, `[L, D]`, outputs what they write. The
  parameters are `W_enc [L, D, F]`, `b_dec [L, D]` and, since early layers write to more
  layers than late ones, a decoder for each layer that codes come from: `W_dec['l']`,
  `[F, L - l, D]`; with a skip connection (Gemma Scope 2) also `W_skip [L, D, D]`.

  Attributes:
    layers: `L`.
    use_skip: Whether each layer has a skip connection.
  """

  layers: int = 2
  use_skip: bool = False
  name: ClassVar[str] = 'cross_layer'

  @property
  def reconstructs(self) -> bool:
    """Whether the targets are the inputs: they are not."""
    return False

  def in_shape(self, width: int) -> Shape:
    """The shape of an input."""
    return (self.layers, width)

  def out_shape(self, width: int) -> Shape:
    """The shape of an output."""
    return self.in_shape(width)

  def codes_of(self, features: int) -> Shape:
    """`C`, the shape of the codes of an example: F features in each layer."""
    return (self.layers, features)

  def code_shape(self, params: Params) -> Shape:
    """`C`, from the parameters."""
    return (self.layers, params['W_enc'].shape[-1])

  def check(self, width: int) -> None:
    """Raises ValueError unless there is a layer."""
    if self.layers < 1:
      raise ValueError(f'CrossLayerTranscoder: layers={self.layers}; give at least 1.')

  def shapes(self, width: int, features: int) -> dict[str, Any]:
    """The shape of each weight; the activation's parameters have shape `C`."""
    L = self.layers
    shapes = {
      'W_enc': (L, width, features),
      'W_dec': {str(layer): (features, L - layer, width) for layer in range(L)},
      'b_dec': (L, width),
    }
    return shapes | ({'W_skip': (L, width, width)} if self.use_skip else {})

  def project(
    self,
    params: Params,
    x: Float[Array, 'B L D'],
    bias: Float[Array, 'L F'],
    plan: Plan,
  ) -> Float[Array, 'B L F']:
    """The inputs times the encoders, and a bias."""
    del plan
    return jnp.einsum('bld,ldf->blf', x, params['W_enc']) + bias

  def project_some(
    self, params: Params, x: Float[Array, 'B L D'], chosen: Int[Array, 'L P']
  ) -> Float[Array, 'B L P']:
    """`project` for some features of each layer only."""
    some = jnp.take_along_axis(params['W_enc'], chosen[:, None, :], 2)
    return jnp.einsum('bld,ldp->blp', x, some)

  def top(
    self,
    params: Params,
    x: Float[Array, 'B L D'],
    k: int,
    plan: Plan,
    norms: Float[Array, 'L F'] | None = None,
  ) -> SparseCodes:
    """The k largest pre-activations of each layer, rectified; see `wiring`."""
    none = jnp.zeros(x.shape[-1], x.dtype)

    def one(layer: tuple[Array, Array, Array, Array | None]) -> tuple[Array, Array]:
      x, W_enc, b_enc, factor = layer
      W_enc, bias = compared(W_enc, b_enc, factor)
      rows = kernels.encode_topk(x, none, W_enc, bias, k, plan.impl, plan.mesh)
      values, indices = rows
      return (values if factor is None else values / factor[indices]), indices

    # One layer after the other: on CPUs a mapped scatter is slower than a plain one.
    layers = (x.swapaxes(0, 1), params['W_enc'], params['b_enc'], norms)
    values, indices = jax.lax.map(one, layers)
    return SparseCodes(values.swapaxes(0, 1), indices.swapaxes(0, 1))

  def decode(
    self,
    params: Params,
    codes: Codes,
    batch: int,
    plan: Plan = Plan(),  # noqa: B008, it is frozen
  ) -> Float[Array, 'B L D']:
    """What the codes of all layers write, and the biases; see `wiring`."""
    if plan.mesh is not None and isinstance(codes, SparseCodes):
      weights = tuple(params['W_dec'][str(layer)] for layer in range(self.layers))
      given = (codes.values, codes.indices, weights)
      return params['b_dec'] + kernels.decode_layers(*given, plan.impl, plan.mesh)
    total = params['b_dec']
    for layer in range(self.layers):
      W_dec = params['W_dec'][str(layer)]
      flat = W_dec.reshape(W_dec.shape[0], -1)
      own = jax.tree.map(lambda leaf, at=layer: leaf[:, at], codes)
      out = decode_rows(own, flat, batch, plan)
      total = total + _from_layer(out.reshape(batch, *W_dec.shape[1:]), layer)
    return total

  def linear_some(
    self, params: Params, codes: Float[Array, 'B L P'], chosen: Int[Array, 'L P']
  ) -> Float[Array, 'B L D']:
    """`linear` for codes of some features of each layer only."""
    total = jnp.zeros(())
    for layer in range(self.layers):
      rows = params['W_dec'][str(layer)][chosen[layer]]
      out = jnp.einsum('bp,pmd->bmd', codes[:, layer], rows)
      total = total + _from_layer(out, layer)
    return total

  def skip(self, params: Params, x: Float[Array, 'B L D']) -> Any:
    """What skip connections add to the output; 0 without any."""
    return jnp.einsum('bld,ldm->blm', x, params['W_skip']) if self.use_skip else 0.0

  def norms(self, params: Params) -> Float[Array, 'L F']:
    """The norm of all that a feature writes, over the layers it writes to."""
    rows = [params['W_dec'][str(layer)] for layer in range(self.layers)]
    return jnp.stack([row_norms(W.reshape(len(W), -1)) for W in rows])

  def fold_scale(self, params: Params, activation: Any, scale: Any) -> Params:
    """Parameters for raw inputs and outputs, from those for scaled ones."""
    W_dec = {
      name: W / scale['outputs'][int(name) :] for name, W in params['W_dec'].items()
    }
    if self.use_skip:
      ratio = scale['inputs'] / scale['outputs']
      params = params | {'W_skip': params['W_skip'] * ratio[:, None]}
    return params | {
      'W_enc': params['W_enc'] * scale['inputs'][:, :, None],
      'W_dec': W_dec,
      'b_dec': params['b_dec'] / scale['outputs'],
    }


def _from_layer(out: Float[Array, 'B M D'], layer: int) -> Float[Array, 'B L D']:
  """What is written to the last M layers, with zeros for those before."""
  return jnp.pad(out, ((0, 0), (layer, 0), (0, 0)))
