"""What writes to the residual stream and what reads it, as linear maps of a run.

The divisors of norms are those of the run, held fixed.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.compat.derived import unembedding_matrix
from interp_jax.compat.names import hook_name
from interp_jax.compat.residual import apply_ln_to_stack, centers, norm_scale
from interp_jax.compat.slices import SliceInput, take


class Reader:
  """Reads rows `[..., D]` as a norm and some directions do; both are linear."""

  def __init__(
    self,
    cache: Any,
    layer: int,
    mlp_input: bool,
    pos_slice: SliceInput,
    apply_ln: bool,
    onto: jax.Array | None,
  ):
    self._read = lambda rows: rows
    self._scale: Any = 1.0
    normed = apply_ln and cache.cfg.norm != 'none'
    if normed:
      self._read = lambda rows: apply_ln_to_stack(
        cache, rows, layer, mlp_input, pos_slice
      )
      self._scale = norm_scale(cache, layer, mlp_input, pos_slice)
    self.onto = self.directions = None
    self._flat = onto is not None and np.ndim(onto) == 1
    if onto is not None:
      onto = jnp.asarray(onto)[:, None] if self._flat else jnp.asarray(onto)
      # To centre rows and project them is to project them onto centred directions.
      centered = normed and centers(cache.cfg, layer)
      self.onto, self.directions = onto, onto - onto.mean(0) if centered else onto

  def __call__(self, rows: jax.Array) -> jax.Array:
    """Whole rows, read."""
    rows = self._read(rows)
    return rows if self.onto is None else rows @ self.onto

  def late(self, rows: jax.Array) -> jax.Array:
    """Rows that were projected onto `directions` (where there are any), read."""
    return self._read(rows) if self.onto is None else rows / self._scale

  def finish(self, stack: jax.Array) -> jax.Array:
    """The stack without the axis of a single direction."""
    return stack[..., 0] if self._flat else stack


def written(
  cache: Any, part: str, layer: int, pos_slice: SliceInput
) -> tuple[jax.Array, Any, Any]:
  """What writes to the stream: matrix, divisor `[B, T, 1]` or 1, and constant.

  The linear part of the norm after attention or MLP is folded into the matrix.
  """
  cfg, blocks = cache.cfg, cache.params['blocks']
  name, number = ('O', 1) if part == 'attn' else ('out', 2)
  weights = {k: v[layer] for k, v in blocks[part].items() if k in _WRITING}
  writer = weights[f'W_{name}']
  bias = weights.get(f'b_{name}', jnp.zeros(cfg.width, writer.dtype))
  if cfg.norm == 'none' or cfg.norm_placement not in ('post', 'sandwich'):
    return writer, 1.0, bias
  norm = {k: v[layer] for k, v in blocks[f'ln{number}_post'].items()}
  scale = hook_name(f'ln{number}_post.scale', layer, cfg=cfg)
  divisor = take(cache[scale], pos_slice, -2)
  if cfg.norm == 'layernorm':
    writer = writer - writer.mean(-1, keepdims=True)
    bias = bias - bias.mean()
  return writer * norm['w'], divisor, bias * norm['w'] / divisor + norm.get('b', 0)


_WRITING = ('W_O', 'b_O', 'W_out', 'b_out')


def stream(cache: Any, layer: int, pos_slice: SliceInput) -> jax.Array:
  """The residual stream before a layer."""
  end = layer == cache.cfg.layers
  act = cache['resid_post', layer - 1] if end else cache['resid_pre', layer]
  return take(act, pos_slice, -2)


def direction(cache: Any, tokens: Any) -> jax.Array:
  """The direction of the normed stream that each token's logit reads, `[..., D]`."""
  cfg, tokens = cache.cfg, jnp.asarray(tokens)
  tokens = tokens.reshape(()) if tokens.size == 1 else tokens
  table = jnp.asarray(unembedding_matrix(cfg, cache.params)).T[tokens]
  if cfg.final_norm and cfg.norm != 'none':
    table = table * cache.params['ln_final']['w']
  return table
