"""The model: one pure function of parameters, tokens and edits."""

from collections.abc import Mapping
import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import numpy as np

from interp_jax import edits as edits_lib
from interp_jax.models import primitives
from interp_jax.models.block import Block, Geometry
from interp_jax.models.cache import Cache, KeysValues
from interp_jax.models.config import TransformerConfig
from interp_jax.models.decompose import Decomposition, decompose
from interp_jax.models.inputs import (
  check_blocks,
  check_input,
  check_reached,
  layer_span,
  token_positions,
)
from interp_jax.models.per_layer import first_layers, layer_constants
from interp_jax.models.restart import keys_values, restart_sites
from interp_jax.models.taps import Tap

Acts = dict[str, jax.Array]


class Transformer(nn.Module):
  """A transformer whose every activation is returned and can be edited.

  `logits, acts = model.apply({'params': params}, tokens, edits)`. The layers'
  parameters are stacked on a leading axis and scanned over, so `params['blocks']`,
  `acts` and layered edits all lead with `L`, and compile time does not grow with depth.

  Attributes:
    cfg: Shape and options.
    unroll: Whether to lay the layers out one after the other in the compiled program
      instead of looping over them: the same numbers, slower to compile, and on CPUs a
      third faster to train.
    query_block: To attend for so many queries at a time, each block against no key that
      is later than all of them: less memory and, over long contexts, several times as
      fast. `acts` then lack `attn_scores` and `pattern`, which are never whole. It is
      for whole sequences; `extend` takes no notice of it. None for all at once.
  """

  cfg: TransformerConfig
  unroll: bool = False
  query_block: int | None = None

  @property
  def restart_sites(self) -> tuple[str, ...]:
    """The sites that `before` needs; none if there is no running from a position on."""
    return restart_sites(self.cfg)

  def setup(self):
    """Names the parameters."""
    cfg = self.cfg
    self.embed = primitives.Embed(cfg)
    if cfg.positions in ('learned', 'shortformer'):
      self.pos_embed = primitives.PosEmbed(cfg)
    if cfg.token_types:
      self.token_type_embed = primitives.TokenTypeEmbed(cfg)
    if cfg.embed_norm:
      self.ln_embed = primitives.Norm(cfg)
    self.blocks = self.param('blocks', _init_blocks, cfg)
    if cfg.head == 'mlm':
      self.mlm_dense = primitives.Dense(cfg)
    if cfg.final_norm:
      self.ln_final = primitives.Norm(cfg, 'rmsnorm' if cfg.final_rms else '')
    if cfg.head != 'none':
      self.unembed = primitives.Unembed(cfg)
    if cfg.pooler:
      self.pooler = primitives.Dense(cfg)

  def __call__(
    self,
    tokens: Int[Array | np.ndarray, 'B T'] | None,
    edits: edits_lib.Edits | None = None,
    *,
    mask: Bool[Array | np.ndarray, 'B S'] | None = None,
    token_types: Int[Array | np.ndarray, 'B T'] | None = None,
    resid: Float[Array | np.ndarray, 'B T D'] | None = None,
    start: Any = None,
    stop: Any = None,
    before: Mapping[str, Any] | None = None,
    logit_positions: Int[Array | np.ndarray, '*b P'] | None = None,
    logit_tokens: Int[Array | np.ndarray, 'B C'] | None = None,
  ) -> tuple[Float[Array, 'B P V'], Acts]:
    """Runs the model, or the layers from `start` to `stop` of it.

    Args:
      tokens: The tokens; None if `resid` is given.
      edits: What to do to activations on their way: site → edit or edits.
      mask: False at padding, which may stand on either side. None: no padding. With
        `before`, of all positions.
      token_types: Types of the tokens (BERT's segments), where the model has them;
        None for type 0.
      resid: A residual stream to start from instead of the tokens' embeddings.
      start: First layer to run; may be traced. None for 0.
      stop: Layer to stop before; may be traced. None for all. The final norm and the
        unembedding read the stream as it is then.
      before: Activations of a run at the positions before the first one of this run,
        `[L, B, earlier, ...]` at each of `restart_sites`; the model, which is causal,
        then goes on from there. `T` counts the positions of this run, `S` all.
      logit_positions: Positions to unembed, `[P]` or `[B, P]`; None for all.
      logit_tokens: Tokens of each row whose logits are computed; None for all.

    Returns:
      Logits `[B, P, V]`, or `[B, P, C]` of the tokens asked for (float32 at least; the
      residual stream `[B, P, D]` of a model without a head), and `acts`: site →
      activation after its edits, `[L, B, T, ...]` inside the layers. Layers outside
      `start..stop` hold zeros. Under `jit`, what is not returned is not kept.

    Raises:
      ValueError: if edits, shapes or arguments do not fit the model.
    """
    cfg = self.cfg
    batch, length, earlier = check_input(cfg, tokens, resid, mask, token_types, before)
    span = layer_span(cfg, start, stop)
    prepared = edits_lib.prepare(edits, cfg, batch, length, earlier + length)
    check_blocks(self.query_block, prepared)
    tap = Tap(prepared.top)
    positions = token_positions(mask, earlier + length)
    here = positions[:, earlier:]
    x = self._enter(tokens, token_types, resid, here, tap)
    valid = None if mask is None else jnp.asarray(mask)
    geometry = self._geometry(here, positions, valid, earlier, batch, tap)
    tokens_of = earlier + length if valid is None else valid.sum(1)
    constants = layer_constants(cfg, tokens_of)
    cache = keys_values(cfg, before, length)
    x, acts, _ = self._layers(x, prepared, geometry, constants, cache, span)
    logits = self._leave(x, logit_positions, tap, logit_tokens)
    check_reached(prepared, tap)
    return logits, tap.acts | acts

  def extend(
    self,
    tokens: Int[Array | np.ndarray, 'B T'],
    cache: Cache,
    edits: edits_lib.Edits | None = None,
    *,
    mask: Bool[Array | np.ndarray, 'B T'] | None = None,
    logit_positions: Int[Array | np.ndarray, '*b P'] | None = None,
  ) -> tuple[Float[Array, 'B P V'], Acts, Cache]:
    """Runs further tokens against cached keys and values.

    Args:
      tokens: The tokens that follow those in the cache.
      cache: From `empty_cache` or an earlier call. It must have room: slots past its
        size are not checked, since its length is traced.
      edits: Addressed to these tokens: `T` is their number, `S` the cache's size.
      mask: False at padding.
      logit_positions: As in `__call__`.

    Returns:
      Logits, acts (scores and patterns are over all `S` slots), and the cache with
      these tokens.

    Raises:
      ValueError: if edits or shapes do not fit, or the model is not causal.
    """
    if not self.cfg.causal:
      raise ValueError('extend: a bidirectional model cannot be run token by token.')
    batch, length, _ = check_input(self.cfg, tokens, None, mask)
    size = cache.valid.shape[1]
    prepared = edits_lib.prepare(edits, self.cfg, batch, length, size)
    tap = Tap(prepared.top)
    valid = jnp.ones((batch, length), bool) if mask is None else jnp.asarray(mask)
    before = cache.valid.sum(1, keepdims=True, dtype=jnp.int32)
    positions = before + token_positions(valid, length)
    put = jax.lax.dynamic_update_slice_in_dim
    cache = dataclasses.replace(
      cache,
      positions=put(cache.positions, positions, cache.length, 1),
      valid=put(cache.valid, valid, cache.length, 1),
    )
    x = self._enter(tokens, None, None, positions, tap)
    geometry = self._geometry(
      positions, cache.positions, cache.valid, cache.length, batch, tap
    )
    # Rotary scalings by length go by what each row's will be when the cache is full.
    filled = jnp.arange(size) < cache.length + length
    padding = jnp.sum(filled & ~cache.valid, 1)
    constants = layer_constants(self.cfg, size - padding)
    x, acts, layers = self._layers(x, prepared, geometry, constants, cache.layers, None)
    cache = dataclasses.replace(cache, layers=layers, length=cache.length + length)
    return self._leave(x, logit_positions, tap), tap.acts | acts, cache

  @nn.nowrap
  def decompose(
    self,
    variables: Mapping[str, Any],
    tokens: Int[Array | np.ndarray, 'B T'],
    *,
    mask: Bool[Array | np.ndarray, 'B T'] | None = None,
    token_types: Int[Array | np.ndarray, 'B T'] | None = None,
    frozen: Mapping[str, Any] | None = None,
  ) -> Decomposition:
    """The model taken apart: heads and MLPs as functions of what each of them reads.

    Args:
      variables: `{'params': params}`.
      tokens: The tokens.
      mask: False at padding, as in `__call__`.
      token_types: As in `__call__`.
      frozen: Activations of some run to hold fixed: norms' `scale`s and `pattern`, as
        `acts` has them.

    Returns:
      What the tokens write to the stream, and the layers to run on it.

    Raises:
      ValueError: if the model's stream is no sum of what was written to it, or
        arguments do not fit the model.
    """
    return decompose(self, variables, tokens, mask, token_types, frozen)

  def _begin(
    self, tokens: Any, token_types: Any, mask: Any
  ) -> tuple[jax.Array, Geometry, dict[str, jax.Array | None]]:
    """The stream before the layers, and what the layers need besides."""
    batch, length, _ = check_input(self.cfg, tokens, None, mask, token_types)
    positions = token_positions(mask, length)
    tap = Tap({})
    x = self._enter(tokens, token_types, None, positions, tap)
    valid = None if mask is None else jnp.asarray(mask)
    geometry = self._geometry(positions, positions, valid, 0, batch, tap)
    tokens_of = length if valid is None else valid.sum(1)
    return x, geometry, layer_constants(self.cfg, tokens_of)

  def _enter(
    self, tokens: Any, token_types: Any, resid: Any, positions: jax.Array, tap: Tap
  ) -> jax.Array:
    cfg = self.cfg
    if resid is not None:
      return jnp.asarray(resid, cfg.dtype)
    x = tap('embed', self.embed(jnp.asarray(tokens)))
    if cfg.positions == 'learned':
      x = x + self._position_vectors(positions, x.shape[0], tap)
    if cfg.token_types:
      types = jnp.zeros(x.shape[:2], jnp.int32) if token_types is None else token_types
      x = x + tap('token_type_embed', self.token_type_embed(jnp.asarray(types)))
    return self.ln_embed(x, tap, 'ln_embed') if cfg.embed_norm else x

  def _position_vectors(
    self, positions: jax.Array, batch: int, tap: Tap
  ) -> Float[Array, 'B T D']:
    vectors = self.pos_embed(positions)
    return tap('pos_embed', jnp.broadcast_to(vectors, (batch, *vectors.shape[1:])))

  def _geometry(
    self,
    positions: jax.Array,
    key_positions: jax.Array,
    key_valid: jax.Array | None,
    slot: Any,
    batch: int,
    tap: Tap,
  ) -> Geometry:
    """Who may attend to whom; `slot` is where the queries stand among the keys."""
    cfg = self.cfg
    distance = positions[:, :, None] - key_positions[:, None, :]
    queries = slot + jnp.arange(positions.shape[1])
    allowed = jnp.ones(distance.shape[1:], bool)
    if cfg.causal:
      allowed = jnp.arange(key_positions.shape[1]) <= queries[:, None]
    allowed = allowed[None]
    if key_valid is not None:
      allowed = allowed & key_valid[:, None, :]
    shared = None
    if cfg.positions == 'shortformer':
      shared = self._position_vectors(positions, batch, tap)
    return Geometry(positions, distance, allowed, slot, shared)

  def _layers(
    self,
    x: jax.Array,
    prepared: edits_lib.Prepared,
    geometry: Geometry,
    constants: dict[str, jax.Array | None],
    cache: KeysValues | None,
    span: tuple[Any, Any] | None,
  ) -> tuple[jax.Array, Acts, Any]:
    cfg = self.cfg
    block = Block(cfg, self.query_block, parent=None)
    start, stop = span or (0, cfg.layers)

    def body(resid, xs):
      def run(resid):
        tap = Tap(edits_lib.join(xs['edits'], prepared.shared), xs['index'])
        here = geometry.in_layer(xs)
        variables = {'params': xs['params']}
        resid, new = block.apply(variables, resid, tap, here, xs['cache'])
        return resid, (tap.acts, new)

      if span is None:
        return run(resid)
      kept = jax.tree.map(jnp.zeros_like, jax.eval_shape(run, resid)[1])
      inside = (start <= xs['index']) & (xs['index'] < stop)
      return jax.lax.cond(inside, run, lambda r: (r, kept), resid)

    xs = {
      'params': self.blocks,
      'edits': prepared.scanned,
      'index': jnp.arange(cfg.layers),
      'cache': cache,
      **constants,
    }

    def every(x):
      return jax.lax.scan(body, x, xs, length=cfg.layers, unroll=self.unroll)

    if isinstance(start, int) and isinstance(stop, int) and start == stop:
      # No layer at all, as in a lens: no conditionals for a gradient to pass through.
      acts, new = jax.tree.map(jnp.zeros_like, jax.eval_shape(every, x)[1])
      return x, acts, new
    x, (acts, new) = every(x)
    return x, acts, new

  def _leave(
    self, x: jax.Array, logit_positions: Any, tap: Tap, logit_tokens: Any = None
  ) -> jax.Array:
    cfg = self.cfg
    if cfg.head == 'mlm':
      x = primitives.activation(cfg.act)(self.mlm_dense(x))
    if cfg.final_norm:
      x = self.ln_final(x, tap, 'ln_final')
    if cfg.pooler and self.is_initializing():
      self.pooler(x)  # Linen makes parameters where they are used; `pool` uses these.
    if logit_positions is not None:
      at = jnp.asarray(logit_positions)
      at = jnp.broadcast_to(at, (x.shape[0], at.shape[-1]))
      x = jnp.take_along_axis(x, at[..., None], axis=1)
    if cfg.head == 'none':
      return x
    logits = self.unembed(x, self.embed.table if cfg.tied else None, logit_tokens)
    return primitives.soft_cap(logits, cfg.logit_softcap)


def init_params(model: Transformer, seed: int = 0) -> dict[str, Any]:
  """Random parameters, a nested dict of arrays.

  Args:
    model: The model.
    seed: Of the random draws.

  Returns:
    `params` for `model.apply({'params': params}, ...)`.
  """
  return _init(model, jax.random.key(seed))


# At the top level, so that equal models compile their initialisation once.
@functools.partial(jax.jit, static_argnums=0)
def _init(model: Transformer, key: jax.Array) -> Any:
  return model.init(key, jnp.zeros((1, 1), jnp.int32))['params']


def truncate(
  model: Transformer, params: dict[str, Any], layers: int
) -> tuple[Transformer, dict[str, Any]]:
  """The model of the first layers only. Do it once, outside `jit`.

  Reading one layer out of a scan runs all layers; a truncated model runs only those
  that are needed. Its final norm and unembedding read the earlier residual stream.

  Args:
    model: The model.
    params: Its parameters.
    layers: How many layers to keep.

  Returns:
    The truncated model and its parameters.

  Raises:
    ValueError: if the model has fewer layers.
  """
  cfg = model.cfg
  if not 1 <= layers <= cfg.layers:
    raise ValueError(f'truncate: layers={layers}; the model has 1..{cfg.layers}.')
  short = dataclasses.replace(cfg, **first_layers(cfg, layers))
  blocks = jax.tree.map(lambda leaf: leaf[:layers], params['blocks'])
  return model.clone(cfg=short), {**params, 'blocks': blocks}


def _init_blocks(rng: jax.Array, cfg: TransformerConfig) -> dict[str, Any]:
  """Parameters of all layers, stacked."""
  x = jnp.zeros((1, 1, cfg.width), cfg.dtype)
  positions = jnp.zeros((1, 1), jnp.int32)
  geometry = Geometry(
    positions,
    positions[:, :, None],
    jnp.ones((1, 1, 1), bool),
    attn_scale=1.0,
    frequencies=jnp.zeros(cfg.rotary_dim // 2),
    rotary_factor=1.0,
  )
  block = Block(cfg, parent=None)

  def init(key: jax.Array) -> dict[str, Any]:
    return dict(block.init(key, x, Tap({}), geometry)['params'])

  return jax.vmap(init)(jax.random.split(rng, cfg.layers))
