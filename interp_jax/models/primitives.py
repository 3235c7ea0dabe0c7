"""The handful of primitives that blocks are made of, with the head axis in the weights.

Parameters have TransformerLens's names and orders: `W_Q [H, D, K]`, `W_O [H, K, D]`,
`W_in [D, M]`, `W_E [V, D]`, `W_U [D, V]`; the model stacks a layer axis in front.
"""

from collections.abc import Callable, Sequence
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from interp_jax.models.config import TransformerConfig
from interp_jax.models.taps import Tap


def wide(dtype: jnp.dtype | str) -> jnp.dtype:
  """The dtype for what must not be rounded to 16 bits: float32 at least."""
  return jnp.promote_types(dtype, jnp.float32)


def weight(
  module: nn.Module, name: str, shape: Sequence[int], std: float, cfg: TransformerConfig
) -> jax.Array:
  """A normally initialised parameter, in the compute dtype."""
  init = nn.initializers.normal(std) if std else nn.initializers.zeros
  value = module.param(name, init, tuple(shape), jnp.dtype(cfg.param_dtype))
  return value.astype(cfg.dtype)


def writer_std(fan_in: int, cfg: TransformerConfig) -> float:
  """Initial deviation of weights that write to the residual stream.

  Scaled by `1 / sqrt(2 L)` so that the stream's variance does not grow with depth
  (Radford et al. 2019, GPT-2, section 2.3).
  """
  return 1 / math.sqrt(2 * cfg.layers * fan_in)


class Norm(nn.Module):
  """LayerNorm or RMSNorm over the last axis, or nothing, with its two sites.

  Attributes:
    cfg: The model's config.
    kind: The norm, where it is not the config's.
  """

  cfg: TransformerConfig
  kind: str = ''

  @nn.compact
  def __call__(
    self, x: Float[Array, '*b X'], tap: Tap, name: str
  ) -> Float[Array, '*b X']:
    """The normed activation; sites `name.scale` and `name.normalized`."""
    kind = self.kind or self.cfg.norm
    if kind == 'none':
      return x
    y = x.astype(wide(x.dtype))
    if kind == 'layernorm':
      y = y - y.mean(-1, keepdims=True)
    mean_square = jnp.mean(y * y, -1, keepdims=True)
    y = y / tap(f'{name}.scale', jnp.sqrt(mean_square + self.cfg.norm_eps))
    dtype = wide(self.cfg.param_dtype)
    y = y * self.param('w', nn.initializers.ones, x.shape[-1:], dtype)
    if kind == 'layernorm':
      y = y + self.param('b', nn.initializers.zeros, x.shape[-1:], dtype)
    return tap(f'{name}.normalized', y.astype(x.dtype))


class QKNorm(nn.Module):
  """RMSNorm of queries or keys, over each head (Qwen 3, Gemma 3) or all (OLMo 2).

  Attributes:
    cfg: The model's config.
    heads: How many heads have parameters. Of more heads than that, so many in a row
      share them (keys that are computed once per query head).
  """

  cfg: TransformerConfig
  heads: int

  @nn.compact
  def __call__(self, x: Float[Array, 'B T H K']) -> Float[Array, 'B T H K']:
    """The normed queries or keys."""
    axes = (-1,) if self.cfg.qk_norm == 'head' else (-2, -1)
    y = x.astype(wide(x.dtype))
    mean_square = jnp.mean(y * y, axes, keepdims=True)
    y = y * jax.lax.rsqrt(mean_square + self.cfg.norm_eps)
    shape = (self.heads, x.shape[-1])[axes[0] :]
    w = self.param('w', nn.initializers.ones, shape, wide(self.cfg.param_dtype))
    if len(shape) == 2:
      w = jnp.repeat(w, x.shape[-2] // self.heads, 0)
    return (y * w).astype(x.dtype)


class Embed(nn.Module):
  """Token embedding `W_E [V, D]`; its transpose is the unembedding of tied models."""

  cfg: TransformerConfig

  def setup(self):
    """Makes `W_E`."""
    cfg = self.cfg
    self.table = weight(self, 'W_E', (cfg.vocab_size, cfg.width), cfg.width**-0.5, cfg)

  def __call__(self, tokens: Int[Array, 'B T']) -> Float[Array, 'B T D']:
    """The tokens' vectors, scaled by `embed_scale`."""
    return self.table[tokens] * jnp.asarray(self.cfg.embed_scale, self.cfg.dtype)


class PosEmbed(nn.Module):
  """Learned position embedding `W_pos [context, D]`."""

  cfg: TransformerConfig

  @nn.compact
  def __call__(self, positions: Int[Array, 'B T']) -> Float[Array, 'B T D']:
    """The positions' vectors."""
    cfg = self.cfg
    table = weight(self, 'W_pos', (cfg.context, cfg.width), cfg.width**-0.5, cfg)
    return table[positions]


class TokenTypeEmbed(nn.Module):
  """Embedding of token types, BERT's segments: `W_type [types, D]`."""

  cfg: TransformerConfig

  @nn.compact
  def __call__(self, types: Int[Array, 'B T']) -> Float[Array, 'B T D']:
    """The types' vectors."""
    cfg = self.cfg
    shape = (cfg.token_types, cfg.width)
    return weight(self, 'W_type', shape, cfg.width**-0.5, cfg)[types]


class Dense(nn.Module):
  """`x W + b` on the residual stream's width, for BERT's heads."""

  cfg: TransformerConfig

  @nn.compact
  def __call__(self, x: Float[Array, '*b D']) -> Float[Array, '*b D']:
    """The transformed vectors."""
    cfg = self.cfg
    shape = (cfg.width, cfg.width)
    out = x @ weight(self, 'W', shape, cfg.width**-0.5, cfg)
    return out + weight(self, 'b', (cfg.width,), 0.0, cfg)


class Unembed(nn.Module):
  """Unembedding `W_U [D, V]`, its own or (tied models) one that is given."""

  cfg: TransformerConfig

  @nn.compact
  def __call__(
    self,
    x: Float[Array, 'B P D'],
    table: Float[Array, 'V D'] | None = None,
    tokens: Int[Array | np.ndarray, 'B C'] | None = None,
  ) -> Float[Array, 'B P V'] | Float[Array, 'B P C']:
    """The logits, in float32 at least, of all tokens or of some of each row."""
    cfg, wide_dtype = self.cfg, wide(x.dtype)
    if table is not None:
      w = table.T if tokens is None else table[tokens]
    else:
      w = weight(self, 'W_U', (cfg.width, cfg.vocab_size), cfg.width**-0.5, cfg)
      w = w if tokens is None else jnp.moveaxis(w[:, tokens], 0, -1)
    product = 'bpd,dv->bpv' if tokens is None else 'bpd,bcd->bpc'
    logits = jnp.einsum(product, x, w, preferred_element_type=wide_dtype)
    if not cfg.unembed_bias:
      return logits
    bias = weight(self, 'b_U', (cfg.vocab_size,), 0.0, cfg)
    return logits + (bias if tokens is None else bias[tokens][:, None])


def soft_cap(x: jax.Array, cap: float | None) -> jax.Array:
  """`cap tanh(x / cap)`, or x for None (Gemma 2, arXiv:2408.00118)."""
  return x if cap is None else cap * jnp.tanh(x / cap)


def alibi_slopes(heads: int) -> Float[Array, ' H']:
  """Slope of each head's linear bias (Press et al. 2021, arXiv:2108.12409).

  A geometric series from `2 ** (-8 / n)` for a power of two n; other numbers of heads
  take every second slope of the next power of two for the rest.
  """

  def series(n: int) -> list[float]:
    return [2 ** (-8 * (i + 1) / n) for i in range(n)]

  power = 2 ** math.floor(math.log2(heads))
  extra = series(2 * power)[0::2][: heads - power]
  return jnp.array(series(power) + extra)


def activation(name: str) -> Callable[[jax.Array], jax.Array]:
  """The activation function of a name in `ACTIVATIONS`.

  SoLU is `x softmax(x)` (Elhage et al. 2022, "Softmax Linear Units"); the norm that
  follows it in `solu_ln` belongs to the MLP.
  """
  return {
    'relu': jax.nn.relu,
    'relu2': lambda x: jnp.square(jax.nn.relu(x)),
    'gelu': lambda x: jax.nn.gelu(x, approximate=False),
    'gelu_tanh': lambda x: jax.nn.gelu(x, approximate=True),
    'gelu_quick': lambda x: x * jax.nn.sigmoid(1.702 * x),
    'silu': jax.nn.silu,
    'solu': lambda x: x * jax.nn.softmax(x, -1),
    'solu_ln': lambda x: x * jax.nn.softmax(x, -1),
  }[name]
