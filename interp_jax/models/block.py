"""One layer: attention, MLP and how they write to the residual stream."""

from collections.abc import Mapping
import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from interp_jax.models import primitives
from interp_jax.models.cache import KeysValues
from interp_jax.models.config import TransformerConfig
from interp_jax.models.experts import Experts
from interp_jax.models.rotary import rotate
from interp_jax.models.taps import Tap


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Geometry:
  """Who may attend to whom, and how far apart they are; the same for all heads.

  Attributes:
    positions: Positions of the queries, `[B or 1, T]`.
    distance: Query position less key position, `[B or 1, T, S]`.
    allowed: Whether the query may attend to the key, `[B or 1, T, S]`.
    slot: Where the queries stand among the keys of a cache; 0 without one.
    pos_embed: Shortformer's position embedding `[B or 1, T, D]`, or None.
    attn_scale: Factor on the scores, of this layer.
    frequencies: Rotary angles per position, `[half]` or `[B, half]`, of this layer; or
      None.
    rotary_factor: Factor on what is rotated, of this layer.
  """

  positions: Any
  distance: Any
  allowed: Any
  slot: Any = 0
  pos_embed: Any = None
  attn_scale: Any = None
  frequencies: Any = None
  rotary_factor: Any = None

  def in_layer(self, constants: Mapping[str, Any]) -> 'Geometry':
    """That of one layer, from its slice of `layer_constants`."""
    return dataclasses.replace(
      self,
      allowed=self.allowed & (jnp.abs(self.distance) < constants['window']),
      attn_scale=constants['attn_scale'],
      frequencies=constants['frequencies'],
      rotary_factor=constants['rotary_factor'],
    )

  def part(self, queries: slice, keys: slice) -> 'Geometry':
    """That of some queries and some keys."""
    return dataclasses.replace(
      self,
      positions=self.positions[:, queries],
      distance=self.distance[:, queries, keys],
      allowed=self.allowed[:, queries, keys],
    )


def masked_softmax(scores: Float[Array, '... S']) -> Float[Array, '... S']:
  """Softmax over the last axis; -inf means never, and a row of only -inf gives 0."""
  top = jax.lax.stop_gradient(scores.max(-1, keepdims=True))
  exp = jnp.exp(scores - jnp.where(jnp.isfinite(top), top, 0))
  total = exp.sum(-1, keepdims=True)
  return exp / jnp.where(total == 0, 1, total)


def _turned(x: jax.Array, geometry: Geometry) -> jax.Array:
  """What queries and keys read: shortformer's positions are added for them alone."""
  if geometry.pos_embed is None:
    return x
  return x + jnp.expand_dims(geometry.pos_embed, tuple(range(2, x.ndim - 1)))


class Attention(nn.Module):
  """Multi-head, grouped or multi-query attention.

  Taken apart, every head may read another stream: `x` is then `[B, T, 3H, D]`, what the
  queries, keys and values of each query head read (keys and values of grouped heads are
  computed once per query head), or `[B, T, 1, D]`, the same for all; and what each head
  writes is returned by itself, without the bias.
  """

  cfg: TransformerConfig
  query_block: int | None = None

  @nn.compact
  def __call__(
    self,
    x: Float[Array, 'B T *reads D'],
    tap: Tap,
    geometry: Geometry,
    cache: KeysValues | None = None,
  ) -> tuple[Float[Array, 'B T *heads D'], KeysValues | None]:
    """What the heads write, and the cache with this run's keys and values."""
    cfg = self.cfg
    apart = x.ndim == 4
    if apart and x.shape[2] == 1:
      x = x[:, :, 0]
    of_q, of_k, of_v = jnp.split(x, 3, 2) if x.ndim == 4 else (x, x, x)
    q = self._project('Q', cfg.heads, _turned(of_q, geometry))
    k = self._project('K', cfg.kv_heads, _turned(of_k, geometry))
    v = self._project('V', cfg.kv_heads, of_v)
    if apart:
      k, v = (jnp.repeat(a, cfg.heads // a.shape[2], 2) for a in (k, v))
    q, k, v = tap('q', q), tap('k', k), tap('v', v)
    if cfg.qk_norm != 'none':
      q = primitives.QKNorm(cfg, cfg.heads, name='q_norm')(q)
      k = primitives.QKNorm(cfg, cfg.kv_heads, name='k_norm')(k)
    if cfg.positions == 'rotary':
      q = tap('rot_q', self._rotate(q, geometry))
      k = tap('rot_k', self._rotate(k, geometry))
    if cache is not None:
      cache = cache.insert(k, v, geometry.slot)
      k, v = cache.k, cache.v
    slopes = primitives.alibi_slopes(cfg.heads) if cfg.positions == 'alibi' else None
    if self.query_block is None or cache is not None:
      z = self._mix(q, k, v, slopes, geometry, tap)
    else:
      z = self._mix_in_blocks(q, k, v, slopes, geometry)
    return self._write(tap('z', z), apart), cache

  def _project(self, kind: str, heads: int, x: jax.Array) -> jax.Array:
    cfg = self.cfg
    shape = (heads, cfg.width, cfg.head_dim)
    w = primitives.weight(self, f'W_{kind}', shape, cfg.width**-0.5, cfg)
    if x.ndim == 3:
      out = jnp.einsum('btd,hdk->bthk', x, w)
    else:
      out = jnp.einsum('bthd,hdk->bthk', x, jnp.repeat(w, cfg.heads // heads, 0))
    if cfg.qkv_bias:
      b = primitives.weight(self, f'b_{kind}', (heads, cfg.head_dim), 0.0, cfg)
      out = out + jnp.repeat(b, out.shape[2] // heads, 0)
    return out

  def _rotate(self, x: jax.Array, geometry: Geometry) -> jax.Array:
    assert geometry.frequencies is not None  # The model gives them to rotary blocks.
    return rotate(
      x,
      geometry.positions,
      geometry.frequencies,
      self.cfg.rotary_interleaved,
      geometry.rotary_factor,
    )

  def _mix_in_blocks(
    self, q: jax.Array, k: jax.Array, v: jax.Array, slopes: Any, geometry: Geometry
  ) -> Float[Array, 'B T H K']:
    """`_mix` for a block of queries at a time, against no key later than all of it."""

    def mix(q: jax.Array, k: jax.Array, v: jax.Array, slopes: Any) -> jax.Array:
      parts, size = [], self.query_block or q.shape[1]
      for start in range(0, q.shape[1], size):
        here = slice(start, start + size)
        keys = slice(here.stop) if self.cfg.causal else slice(None)
        part = geometry.part(here, keys)
        parts.append(self._mix(q[:, here], k[:, keys], v[:, keys], slopes, part))
      return jnp.concatenate(parts, axis=1)

    def by_head(q: jax.Array, k: jax.Array, v: jax.Array, slopes: Any) -> jax.Array:
      groups = lambda x, axis: jnp.stack(jnp.split(x, k.shape[2], axis))
      split = None if slopes is None else groups(slopes, 0)
      heads = (groups(q, 2), groups(k, 2), groups(v, 2), split)
      z = jax.lax.map(lambda one: mix(*one), heads)
      return jnp.moveaxis(z, 0, 2).reshape(q.shape)

    # Where there is one core or a few, a head's block stays in its cache.
    return jax.lax.platform_dependent(q, k, v, slopes, cpu=by_head, default=mix)

  def _mix(
    self,
    q: Float[Array, 'B T H K'],
    k: Float[Array, 'B S G K'],
    v: Float[Array, 'B S G K'],
    slopes: Float[Array, ' H'] | None,
    geometry: Geometry,
    tap: Tap | None = None,
  ) -> Float[Array, 'B T H K']:
    """The values, mixed by the pattern."""
    tap = tap or Tap({})
    cfg, shape = self.cfg, q.shape
    grouped = q.reshape(*shape[:2], k.shape[2], -1, cfg.head_dim)
    scores = jnp.einsum(
      'btgrk,bsgk->bgrts', grouped, k, preferred_element_type=primitives.wide(q.dtype)
    )
    grouping = scores.shape
    scores = scores.reshape(shape[0], shape[2], *scores.shape[3:])
    scores = primitives.soft_cap(scores * geometry.attn_scale, cfg.attn_softcap)
    if slopes is not None:
      far = jnp.abs(geometry.distance)[:, None]
      scores = scores - slopes.astype(scores.dtype)[:, None, None] * far
    scores = jnp.where(geometry.allowed[:, None], scores, -jnp.inf)
    pattern = masked_softmax(tap('attn_scores', scores)).astype(q.dtype)
    pattern = tap('pattern', pattern).reshape(grouping)
    return jnp.einsum('bgrts,bsgk->btgrk', pattern, v).reshape(shape)

  def _write(self, z: Float[Array, 'B T H K'], apart: bool) -> jax.Array:
    cfg = self.cfg
    std = primitives.writer_std(cfg.heads * cfg.head_dim, cfg)
    shape = (cfg.heads, cfg.head_dim, cfg.width)
    w = primitives.weight(self, 'W_O', shape, std, cfg)
    if apart:
      return jnp.einsum('bthk,hkd->bthd', z, w)
    out = jnp.einsum('bthk,hkd->btd', z, w)
    if cfg.attn_out_bias:
      out = out + primitives.weight(self, 'b_O', (cfg.width,), 0.0, cfg)
    return out


class MLP(nn.Module):
  """Plain or gated MLP."""

  cfg: TransformerConfig

  @nn.compact
  def __call__(self, x: Float[Array, 'B T D'], tap: Tap) -> Float[Array, 'B T D']:
    """What the neurons write."""
    cfg = self.cfg
    act = primitives.activation(cfg.act)
    if cfg.gated:
      gate = tap('pre', self._read('gate', x))
      post = act(gate) * tap('pre_linear', self._read('in', x))
    else:
      post = act(tap('pre', self._read('in', x)))
    if cfg.act == 'solu_ln':
      post = self._solu_norm(tap('mid', post))
    post = tap('post', post)
    std = primitives.writer_std(cfg.mlp_width, cfg)
    shape = (cfg.mlp_width, cfg.width)
    out = post @ primitives.weight(self, 'W_out', shape, std, cfg)
    if cfg.mlp_bias:
      out = out + primitives.weight(self, 'b_out', (cfg.width,), 0.0, cfg)
    return out

  def _read(self, kind: str, x: jax.Array) -> Float[Array, 'B T M']:
    cfg = self.cfg
    shape = (cfg.width, cfg.mlp_width)
    out = x @ primitives.weight(self, f'W_{kind}', shape, cfg.width**-0.5, cfg)
    if cfg.mlp_bias:
      out = out + primitives.weight(self, f'b_{kind}', (cfg.mlp_width,), 0.0, cfg)
    return out

  def _solu_norm(self, x: Float[Array, 'B T M']) -> Float[Array, 'B T M']:
    # SoLU's norm is a LayerNorm whatever the model's norm is.
    return primitives.Norm(self.cfg, 'layernorm', name='ln')(x, Tap({}), 'ln')


class Block(nn.Module):
  """One layer: sequential or parallel, with its norms before, after or between."""

  cfg: TransformerConfig
  query_block: int | None = None

  @nn.compact
  def __call__(
    self,
    resid: Float[Array, 'B T D'],
    tap: Tap,
    geometry: Geometry,
    cache: KeysValues | None = None,
  ) -> tuple[Float[Array, 'B T D'], KeysValues | None]:
    """The residual stream after the layer, and the cache.

    Args:
      resid: The residual stream before the layer.
      tap: Edits and collects this layer's activations.
      geometry: Positions and who attends to whom.
      cache: This layer's cached keys and values, or None.

    Returns:
      The residual stream, and the cache with this run's keys and values.
    """
    cfg = self.cfg
    resid = tap('resid_pre', resid)
    x = self._norm('ln1', resid, tap, 'pre', 'sandwich')
    out, cache = Attention(cfg, self.query_block, name='attn')(x, tap, geometry, cache)
    attn_out = tap('attn_out', self._norm('ln1_post', out, tap, 'post', 'sandwich'))
    if cfg.attn_only:
      resid = tap('resid_post', resid + attn_out)
      return self._norm('ln1', resid, tap, 'residual'), cache
    mid = resid if cfg.parallel else tap('resid_mid', resid + attn_out)
    mid = self._norm('ln1', mid, tap, 'residual')
    if not cfg.shared_norm:
      x = self._norm('ln2', mid, tap, 'pre', 'sandwich')
    out = self._mlp(x, tap)
    mlp_out = tap('mlp_out', self._norm('ln2_post', out, tap, 'post', 'sandwich'))
    resid = mid + attn_out + mlp_out if cfg.parallel else mid + mlp_out
    resid = tap('resid_post', resid)
    return self._norm('ln2', resid, tap, 'residual'), cache

  def _mlp(self, x: jax.Array, tap: Tap) -> jax.Array:
    if self.cfg.experts:
      return Experts(self.cfg, name='experts')(x, tap)
    return MLP(self.cfg, name='mlp')(x, tap)

  def _norm(self, name: str, x: jax.Array, tap: Tap, *placements: str) -> jax.Array:
    """The norm, where the model's placement is one of those given."""
    if self.cfg.norm_placement not in placements:
      return x
    return primitives.Norm(self.cfg, name=name)(x, tap, name)
