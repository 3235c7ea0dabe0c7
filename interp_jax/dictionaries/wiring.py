"""Wirings: what a dictionary reads and what it writes.

One of the three choices that make a dictionary, with `activation` and `objective`. A
wiring names the weights and their shapes, and says how inputs become what activations
are applied to, and how codes become outputs:

| wiring        | reads, writes               | `W_enc`     | `W_dec`     | codes    |
|---------------|-----------------------------|-------------|-------------|----------|
| `autoencoder` | `[D]`, the same `[D]`       | `[D, F]`    | `[F, D]`    | `[F]`    |
| `transcoder`  | `[D]`, another `[O]`        | `[D, F]`    | `[F, O]`    | `[F]`    |
| `crosscoder`  | `[S, D]`, the same `[S, D]` | `[S, D, F]` | `[F, S, D]` | `[F]`    |
| `cross_layer` | `[L, D]`, another `[L, D]`  | `[L, D, F]` | see there   | `[L, F]` |

S sources are layers or models. The last one is in `cross_layer.py`.
"""

from collections.abc import Callable
import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from interp_jax.dictionaries import kernels
from interp_jax.dictionaries.activation import Plan
from interp_jax.dictionaries.codes import Codes, SparseCodes
from interp_jax.dictionaries.kernels import Pairs

Params = dict[str, Any]
Shape = tuple[int, ...]
Shapes = dict[str, Any]


def row_norms(rows: Float[Array, '*rows D']) -> Float[Array, '*rows']:
  """The norms over the last axis, with gradient 0 where they are 0."""
  squares = jnp.sum(jnp.square(rows), -1)
  some = squares > 0
  return jnp.where(some, jnp.sqrt(jnp.where(some, squares, 1)), 0)


@dataclasses.dataclass(frozen=True)
class _OneCode:
  """What wirings share in which one encoder reads all that there is.

  Axes of inputs and outputs beyond the batch are flattened for the matrix products.
  """

  name: ClassVar[str]

  # Shapes

  def in_shape(self, width: int) -> Shape:
    """The shape of an input."""
    return (width,)

  def out_shape(self, width: int) -> Shape:
    """The shape of an output."""
    return self.in_shape(width)

  def codes_of(self, features: int) -> Shape:
    """`C`, the shape of the codes of an example."""
    return (features,)

  def code_shape(self, params: Params) -> Shape:
    """`C`, from the parameters."""
    return (params['W_dec'].shape[0],)

  def shapes(self, width: int, features: int) -> Shapes:
    """The shape of each weight; the activation's parameters have shape `C`."""
    out = self.out_shape(width)
    return {
      'W_enc': (*self.in_shape(width), features),
      'W_dec': (features, *out),
      'b_dec': out,
    }

  def check(self, width: int) -> None:
    """Raises ValueError where the wiring is not for inputs of that width."""

  @property
  def reconstructs(self) -> bool:
    """Whether the targets are the inputs."""
    return True

  # Arithmetic

  def encoder(self, params: Params) -> Float[Array, 'I F']:
    """The encoder's matrix, with the axes of an input as one."""
    W_enc = params['W_enc']
    return W_enc.reshape(-1, W_enc.shape[-1])

  def center(self, params: Params) -> Float[Array, ' I']:
    """What is subtracted from inputs."""
    return jnp.zeros(self.encoder(params).shape[0], params['b_dec'].dtype)

  def project(
    self,
    params: Params,
    x: Float[Array, 'B *in'],
    bias: Float[Array, '*C'],
    plan: Plan,
  ) -> Codes:
    """The inputs times the encoder, and a bias: `[B, *C]`.

    Where the plan knows them as a list, that.
    """
    rows, center = x.reshape(x.shape[0], -1), self.center(params)
    given = (rows, center, self.encoder(params), bias)
    if plan.known is not None:
      return kernels.encode_known(*given, plan.known)
    return kernels.encode_all(*given)

  def look(
    self,
    params: Params,
    x: Float[Array, 'B *in'],
    bias: Float[Array, '*C'],
    live: Callable[[Array], Array],
  ) -> kernels.Known:
    """`project`, and where it matters; see `kernels.look`."""
    rows, center = x.reshape(x.shape[0], -1), self.center(params)
    return kernels.look(rows, center, self.encoder(params), bias, live)

  def project_some(
    self, params: Params, x: Float[Array, 'B *in'], chosen: Int[Array, ' P']
  ) -> Float[Array, 'B P']:
    """`project` for some features only."""
    some = self.encoder(params)[:, chosen]
    rows, center = x.reshape(x.shape[0], -1), self.center(params)
    none = jnp.zeros(some.shape[1], some.dtype)
    return kernels.encode_all(rows, center, some, none)

  def top(
    self,
    params: Params,
    x: Float[Array, 'B *in'],
    k: int,
    plan: Plan,
    norms: Float[Array, '*C'] | None = None,
  ) -> SparseCodes:
    """The k largest pre-activations of each example, rectified.

    Args:
      params: The parameters, with `b_enc`.
      x: Inputs.
      k: How many.
      plan: How to compute.
      norms: Factors by which pre-activations are multiplied to be compared; held
        constant.
    """
    rows, center = x.reshape(x.shape[0], -1), self.center(params)
    W_enc, bias = compared(self.encoder(params), params['b_enc'], norms)
    top = kernels.encode_topk
    values, indices = top(rows, center, W_enc, bias, k, plan.impl, plan.mesh)
    values = values if norms is None else values / norms[indices]
    return SparseCodes(values, indices)

  def top_of_batch(
    self,
    params: Params,
    x: Float[Array, 'B *in'],
    count: int,
    norms: Float[Array, '*C'] | None = None,
  ) -> Pairs:
    """The `count` largest pre-activations of a whole batch, rectified; as `top`."""
    rows, center = x.reshape(x.shape[0], -1), self.center(params)
    W_enc, bias = compared(self.encoder(params), params['b_enc'], norms)
    codes = kernels.sparse_encode_batch(rows, center, W_enc, bias, count)
    if norms is None:
      return codes
    values = codes.values / norms[codes.features]
    return dataclasses.replace(codes, values=values)

  def decode(
    self,
    params: Params,
    codes: Codes,
    batch: int,
    plan: Plan = Plan(),  # noqa: B008, it is frozen
  ) -> Float[Array, 'B *out']:
    """The output of codes, without a skip connection.

    Args:
      params: The parameters.
      codes: Dense or sparse codes.
      batch: How many examples they are of.
      plan: How to compute.
    """
    W_dec = params['W_dec']
    flat = W_dec.reshape(W_dec.shape[0], -1)
    out = decode_rows(codes, flat, batch, plan)
    return out.reshape(batch, *W_dec.shape[1:]) + params['b_dec']

  def linear_some(
    self, params: Params, codes: Float[Array, 'B P'], chosen: Int[Array, ' P']
  ) -> Float[Array, 'B *out']:
    """`codes W_dec` for codes of some features only."""
    rows = params['W_dec'][chosen]
    out = codes @ rows.reshape(rows.shape[0], -1)
    return out.reshape(-1, *rows.shape[1:])

  def skip(self, params: Params, x: Float[Array, 'B *in']) -> Any:
    """What a skip connection adds to the output; 0 without one."""
    return 0.0

  def norms(self, params: Params) -> Float[Array, '*C']:
    """The norm of each feature's row of the decoder."""
    W_dec = params['W_dec']
    return row_norms(W_dec.reshape(W_dec.shape[0], -1))

  # Scales

  def fold_scale(self, params: Params, activation: Any, scale: Any) -> Params:
    """Parameters for raw inputs and outputs, from those for scaled ones.

    Where one number scales both, codes are divided by it, and the weights stay as they
    are. That is exact: every activation commutes with positive factors once its biases
    and thresholds have them too.
    """
    ratio = scale['inputs'] / scale['outputs']
    params = activation.scale_features(params, 1 / scale['outputs'].reshape(()))
    return params | {
      'W_enc': params['W_enc'] * ratio.reshape(()),
      'b_dec': params['b_dec'] / scale['outputs'],
    }


def compared(
  W_enc: Float[Array, 'I F'], bias: Float[Array, ' F'], norms: Float[Array, ' F'] | None
) -> tuple[Float[Array, 'I F'], Float[Array, ' F']]:
  """Encoder and bias of the pre-activations that are compared: times the norms."""
  return (W_enc, bias) if norms is None else (W_enc * norms, bias * norms)


def decode_rows(
  codes: Codes, W_dec: Float[Array, 'F O'], batch: int, plan: Plan
) -> Float[Array, 'B O']:
  """`codes W_dec` for any kind of codes of one layer."""
  if isinstance(codes, SparseCodes):
    values, indices = codes.values, codes.indices
    return kernels.decode_topk(values, indices, W_dec, plan.impl, plan.mesh)
  if isinstance(codes, Pairs):
    return kernels.sparse_decode_pairs(codes, W_dec, batch)
  return codes @ W_dec


@dataclasses.dataclass(frozen=True)
class Autoencoder(_OneCode):
  """Reads an activation and writes the same activation.

      codes = act((x - b_dec) W_enc + b_enc)      output = codes W_dec + b_dec

  (Bricken et al. 2023; Gao et al. 2024, equation 1.)

  Attributes:
    subtract_b_dec: Whether the encoder reads `x - b_dec`; DeepMind's JumpReLU and
      Anthropic's autoencoders since April 2024 read `x`.
    tied: Whether the encoder is the decoder's transpose (Cunningham et al. 2023): there
      is then no `W_enc`.
  """

  subtract_b_dec: bool = True
  tied: bool = False
  name: ClassVar[str] = 'autoencoder'

  def shapes(self, width: int, features: int) -> Shapes:
    shapes = super().shapes(width, features)
    if self.tied:
      del shapes['W_enc']
    return shapes

  def encoder(self, params: Params) -> Float[Array, 'D F']:
    return params['W_dec'].T if self.tied else params['W_enc']

  def center(self, params: Params) -> Float[Array, ' D']:
    return params['b_dec'] if self.subtract_b_dec else super().center(params)

  def fold_scale(self, params: Params, activation: Any, scale: Any) -> Params:
    params = activation.scale_features(params, 1 / scale['outputs'].reshape(()))
    return params | {'b_dec': params['b_dec'] / scale['outputs']}


@dataclasses.dataclass(frozen=True)
class Transcoder(_OneCode):
  """Reads one activation and writes another, say an MLP's input and output.

      codes = act(x W_enc + b_enc)      output = codes W_dec + b_dec (+ x W_skip)

  (Dunefsky et al. 2024, 2406.11944; with the skip connection `W_skip [D, O]`: Paulo et
  al. 2025, 2501.18823.)

  Attributes:
    out_width: `O`; None for the width of the inputs.
    use_skip: Whether there is a skip connection.
  """

  out_width: int | None = None
  use_skip: bool = False
  name: ClassVar[str] = 'transcoder'

  @property
  def reconstructs(self) -> bool:
    return False

  def out_shape(self, width: int) -> Shape:
    return (self.out_width or width,)

  def shapes(self, width: int, features: int) -> Shapes:
    shapes = super().shapes(width, features)
    if self.use_skip:
      shapes['W_skip'] = (width, *self.out_shape(width))
    return shapes

  def skip(self, params: Params, x: Float[Array, 'B D']) -> Any:
    return x @ params['W_skip'] if self.use_skip else 0.0

  def fold_scale(self, params: Params, activation: Any, scale: Any) -> Params:
    params = super().fold_scale(params, activation, scale)
    if self.use_skip:
      ratio = scale['inputs'] / scale['outputs']
      params |= {'W_skip': params['W_skip'] * ratio.reshape(())}
    return params


@dataclasses.dataclass(frozen=True)
class Crosscoder(_OneCode):
  """Reads and writes several activations through one code (Lindsey et al. 2024).

      codes = act(sum_s x_s W_enc_s + b_enc)      output_s = codes W_dec_s + b_dec_s

  The sources are layers of one model, or models that are compared.

  Attributes:
    sources: `S`, how many there are.
  """

  sources: int = 2
  name: ClassVar[str] = 'crosscoder'

  def in_shape(self, width: int) -> Shape:
    return (self.sources, width)

  def check(self, width: int) -> None:
    if self.sources < 1:
      raise ValueError(f'Crosscoder: sources={self.sources}; give at least 1.')

  def norms(self, params: Params) -> Float[Array, ' F']:
    """The sum over sources of the norms of a feature's decoders.

    It makes features that few sources share cheaper (Lindsey et al. 2024).
    """
    return row_norms(params['W_dec']).sum(-1)

  def fold_scale(self, params: Params, activation: Any, scale: Any) -> Params:
    return params | {
      'W_enc': params['W_enc'] * scale['inputs'][:, :, None],
      'W_dec': params['W_dec'] / scale['outputs'],
      'b_dec': params['b_dec'] / scale['outputs'],
    }
