"""The model taken apart: each head and MLP as a function of a stream of its own.

The residual stream is a sum of what the embedding, the heads and the MLPs wrote, and
some constants. Here whoever runs the layers adds up what each of them reads, and may
add up something else for each (edge patching, path patching, circuits). The modules are
those of the whole model, so that reading the sum gives the model's own run.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from interp_jax.core import unknown
from interp_jax.edits import Add, Edit, Replace
from interp_jax.models import primitives
from interp_jax.models.block import MLP, Attention, Block
from interp_jax.models.config import TransformerConfig
from interp_jax.models.experts import Experts
from interp_jax.models.probe import NormGradient, probed_projections
from interp_jax.models.taps import Tap

# What can be held fixed, so that the rest of the model is linear between MLPs.
FREEZABLE = (
  'ln1.scale',
  'ln2.scale',
  'ln1_post.scale',
  'ln2_post.scale',
  'ln_final.scale',
  'pattern',
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Layer:
  """What differs by layer; of all layers with a leading `L`, to be scanned over.

  Attributes:
    params: Parameters.
    constants: Window, scale and rotary frequencies.
    frozen: Site → activation to hold fixed.
  """

  params: Any
  constants: Any
  frozen: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Decomposition:
  """The parts of a model, for one batch of tokens.

  Attributes:
    stream: What the embedding writes, `[B, T, D]`, positions included.
    layers: What the methods below need of each layer, with a leading `L`.
    geometry: Who may attend to whom.
    variables: The model's variables.
    frozen_final: The final norm's divisor to hold fixed, or None.
    model: The model.
  """

  stream: Any
  layers: Any
  geometry: Any
  variables: Any
  frozen_final: Any
  model: Any = dataclasses.field(metadata={'static': True})

  @property
  def cfg(self) -> TransformerConfig:
    """The model's config."""
    return self.model.cfg

  def heads(
    self, layer: Layer, reads: Float[Array, 'B T R D']
  ) -> tuple[Float[Array, 'B T H D'], Float[Array, 'B T D']]:
    """One layer's attention.

    Args:
      layer: A slice of `layers`.
      reads: The stream as the queries, keys and values of each query head read it, in
        this order, `R = 3H`; or one for all, `R = 1`.

    Returns:
      What each head adds to the stream, and what attention adds: their sum and a
      constant of the layer. A norm after attention is linear once its divisor is known:
      each head's share is divided by that of the sum.
    """
    x = self._normed(layer, reads)
    return self._attend(layer, x, {})

  def probed_heads(
    self,
    layer: Layer,
    stream: Float[Array, 'B T D'],
    probe: Float[Array, 'R S'],
    gap: Float[Array, 'S b T D'],
  ) -> tuple[Float[Array, 'B T H D'], Float[Array, 'B T D']]:
    """`heads` of the reads `stream + probe @ gap`, for a probe of zeros.

    The cost is that of `heads` for one read: see `probed_projections`.

    Args:
      layer: A slice of `layers`.
      stream: The stream, of a batch or of several times that batch.
      probe: Zeros, to differentiate with respect to; the receivers of one layer's heads
        in the order of `heads`.
      gap: What each entry of the probe stands for.

    Returns:
      As `heads`.
    """
    weights = tuple(layer.params['attn'][name] for name in ('W_Q', 'W_K', 'W_V'))
    norm = self._norm_gradient(layer, stream) if self._before else None
    zeros = probed_projections(weights, norm, stream, probe, gap)
    each = zip('qkv', jnp.split(zeros, 3, 2), strict=True)
    added = {site: (Add(value),) for site, value in each}
    return self._attend(layer, self._normed(layer, stream[:, :, None]), added)

  def _normed(self, layer: Layer, reads: jax.Array) -> jax.Array:
    if not self._before:
      return reads
    scale = layer.frozen.get('ln1.scale')
    held = {} if scale is None else {'ln1.scale': (Replace(scale[:, :, None]),)}
    return self._norm('ln1', layer, reads, Tap(held))

  def _norm_gradient(self, layer: Layer, stream: jax.Array) -> NormGradient | None:
    """What the gradient through the norm before attention is made of."""
    if self.cfg.norm == 'none':
      return None
    tap = _tap(layer, 'ln1.scale')
    self._norm('ln1', layer, stream, tap)
    held = 'ln1.scale' in layer.frozen
    centred = self.cfg.norm == 'layernorm'
    gain, scale = layer.params['ln1']['w'], tap.acts['ln1.scale']
    return NormGradient(gain, scale, centred, held)

  def _attend(
    self, layer: Layer, x: jax.Array, edits: Mapping[str, tuple[Edit, ...]]
  ) -> tuple[jax.Array, jax.Array]:
    params, tap = layer.params['attn'], _tap(layer, 'pattern', edits=edits)
    here = self.geometry.in_layer(layer.constants)
    out, _ = _run(Attention(self.cfg, parent=None), params, x, tap, here)
    if not self._after:
      return out, out.sum(2) + params.get('b_O', 0)
    if 'b_O' in params:  # The norm divides it, too, so it is no constant of the layer.
      out = out + params['b_O'] / out.shape[2]
    return self._shares('ln1_post', layer, out)

  def mlp(self, layer: Layer, read: Float[Array, 'B T D']) -> Float[Array, 'B T D']:
    """What one layer's MLP adds to the stream, biases included.

    Args:
      layer: A slice of `layers`.
      read: The stream as the MLP reads it.
    """
    cfg, x = self.cfg, read
    if self._before:
      name = 'ln1' if cfg.shared_norm else 'ln2'
      x = self._norm(name, layer, read, _tap(layer, f'{name}.scale'))
    kind, name = (Experts, 'experts') if cfg.experts else (MLP, 'mlp')
    out = _run(kind(cfg, parent=None), layer.params[name], x, Tap({}))
    if self._after:
      tap = _tap(layer, 'ln2_post.scale')
      out = self._norm('ln2_post', layer, out, tap)
    return out

  def layer(self, layer: Layer, stream: Float[Array, 'B T D']) -> Float[Array, 'B T D']:
    """The stream after a whole layer in which everything reads the stream."""
    tap = _tap(layer, *layer.frozen)
    here = self.geometry.in_layer(layer.constants)
    return _run(Block(self.cfg, parent=None), layer.params, stream, tap, here)[0]

  def logits(
    self,
    read: Float[Array, 'B T D'],
    positions: Int[Array | np.ndarray, '*b P'] | None = None,
  ) -> Float[Array, 'B P V']:
    """The logits of a stream.

    Args:
      read: The stream as the final norm reads it.
      positions: Positions to unembed, `[P]` or `[B, P]`; None for all.
    """
    held = self.frozen_final
    tap = Tap({} if held is None else {'ln_final.scale': (Replace(held),)})
    return self.model.apply(self.variables, read, positions, tap, method='_leave')

  @property
  def _before(self) -> bool:
    return self.cfg.norm_placement in ('pre', 'sandwich')

  @property
  def _after(self) -> bool:
    return self.cfg.norm_placement in ('post', 'sandwich') and self.cfg.norm != 'none'

  def _norm(self, name: str, layer: Layer, x: jax.Array, tap: Tap) -> jax.Array:
    norm = primitives.Norm(self.cfg, parent=None)
    return _run(norm, layer.params.get(name, {}), x, tap, name)

  def _shares(
    self, name: str, layer: Layer, parts: Float[Array, 'B T H D']
  ) -> tuple[Float[Array, 'B T H D'], Float[Array, 'B T D']]:
    """Each part's share of the norm of their sum, and that norm."""
    tap = _tap(layer, f'{name}.scale')
    whole = self._norm(name, layer, parts.sum(2), tap)
    y = parts.astype(primitives.wide(parts.dtype))
    if self.cfg.norm == 'layernorm':
      y = y - y.mean(-1, keepdims=True)
    y = y / tap.acts[f'{name}.scale'][:, :, None] * layer.params[name]['w']
    return y.astype(parts.dtype), whole


def _tap(
  layer: Layer, *sites: str, edits: Mapping[str, tuple[Edit, ...]] | None = None
) -> Tap:
  """A tap with some edits that also holds those of the sites which are frozen."""
  held = {site: layer.frozen[site] for site in sites if site in layer.frozen}
  return Tap({**(edits or {}), **{k: (Replace(v),) for k, v in held.items()}})


def _run(module: nn.Module, params: Any, *args: Any) -> Any:
  """The module as the function of its parameters that it is."""
  return module.apply({'params': params}, *args)


def decompose(
  model: Any,
  variables: Mapping[str, Any],
  tokens: Int[Array | np.ndarray, 'B T'],
  mask: Any = None,
  token_types: Any = None,
  frozen: Mapping[str, Any] | None = None,
) -> Decomposition:
  """`Transformer.decompose`: see there."""
  if model.cfg.norm_placement == 'residual':
    raise ValueError(
      "norm_placement='residual' (BERT) norms the stream itself after each sum, so it "
      'is no sum of what heads and MLPs write; it cannot be taken apart.'
    )
  frozen = dict(frozen or {})
  for site in frozen:
    if site not in FREEZABLE:
      raise ValueError(unknown('site to freeze', site, FREEZABLE))
  stream, geometry, constants = model.apply(
    variables, tokens, token_types, mask, method='_begin'
  )
  final = frozen.pop('ln_final.scale', None)
  layers = Layer(variables['params']['blocks'], constants, frozen)
  return Decomposition(stream, layers, geometry, variables, final, model)
