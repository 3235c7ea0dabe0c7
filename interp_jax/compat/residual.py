"""The residual stream of a cache, accumulated and split; methods of ActivationCache.

Stacks are `[components, B, T, D]` (without the axes that a slice or a missing batch
axis takes away), in TransformerLens's order and under its labels.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from interp_jax.compat.slices import SliceInput, take
from interp_jax.models import TransformerConfig

Stack = jax.Array | tuple[jax.Array, list[str]]


def accumulated_resid(
  cache: Any,
  layer: int | None = None,
  incl_mid: bool = False,
  apply_ln: bool = False,
  pos_slice: SliceInput = None,
  mlp_input: bool = False,
  return_labels: bool = False,
) -> Stack:
  """The residual stream before each layer, and at the end: what a logit lens reads.

  Args:
    cache: The cache.
    layer: The last layer, whose input is the last row; None (or -1) for the end.
    incl_mid: Whether to give the stream between attention and MLP too.
    apply_ln: Whether to apply the norm that reads the end: the final one, whole and
      with a divisor of each row's own, or at an earlier layer its divisor alone.
    pos_slice: Positions to give.
    mlp_input: Whether the last row is the input of `layer`'s MLP.
    return_labels: Whether to return labels such as '3_pre' with the stack.

  Returns:
    The stack, with labels if asked for.
  """
  layers = cache.cfg.layers
  layer = layer_before(cache.cfg, layer)
  rows, labels = [], []
  for at in range(layer + 1):
    if at == layers:
      rows.append(cache['resid_post', layers - 1])
      labels.append('final_post')
      continue
    rows.append(cache['resid_pre', at])
    labels.append(f'{at}_pre')
    if mlp_input if at == layer else incl_mid:
      rows.append(cache['resid_mid', at])
      labels.append(f'{at}_mid')
  stack = jnp.stack([take(row, pos_slice, -2) for row in rows])
  if apply_ln:
    stack = apply_ln_to_stack(
      cache, stack, layer, mlp_input, pos_slice, recompute_ln=layer == layers
    )
  return (stack, labels) if return_labels else stack


def decompose_resid(
  cache: Any,
  layer: int | None = None,
  mlp_input: bool = False,
  mode: Literal['all', 'mlp', 'attn'] = 'all',
  apply_ln: bool = False,
  pos_slice: SliceInput = None,
  incl_embeds: bool = True,
  return_labels: bool = False,
) -> Stack:
  """What was written to the residual stream before a layer, one row for each writer.

  The rows sum to the stream. (TransformerLens lists a shortformer's positions too,
  which are not written to it.)

  Args:
    cache: The cache.
    layer: The layer whose input is split; None (or -1) for the end.
    mlp_input: Whether to split the input of the layer's MLP.
    mode: Which layers' outputs: those of attention, of MLPs, or both.
    apply_ln: Whether to centre the rows and divide them by the divisor of the norm that
      reads their sum.
    pos_slice: Positions to give.
    incl_embeds: Whether to give the embeddings.
    return_labels: Whether to return labels such as '3_attn_out' with the stack.

  Returns:
    The stack, with labels if asked for.

  Raises:
    ValueError: if norms stand on the stream, so that it is no sum (BERT).
  """
  check_sum(cache.cfg)
  layer = layer_before(cache.cfg, layer)
  rows = embeddings(cache) if incl_embeds else {}
  for at in range(layer):
    if mode != 'mlp':
      rows[f'{at}_attn_out'] = cache['attn_out', at]
    if mode != 'attn' and not cache.cfg.attn_only:
      rows[f'{at}_mlp_out'] = cache['mlp_out', at]
  if mlp_input and mode != 'mlp':
    rows[f'{layer}_attn_out'] = cache['attn_out', layer]
  taken = [take(row, pos_slice, -2) for row in rows.values()]
  stack = jnp.stack(taken) if taken else empty(cache, pos_slice)
  if apply_ln:
    stack = apply_ln_to_stack(cache, stack, layer, mlp_input, pos_slice)
  return (stack, list(rows)) if return_labels else stack


def apply_ln_to_stack(
  cache: Any,
  residual_stack: jax.Array,
  layer: int | None = None,
  mlp_input: bool = False,
  pos_slice: SliceInput = None,
  batch_slice: SliceInput = None,
  has_batch_dim: bool = True,
  recompute_ln: bool = False,
) -> jax.Array:
  """Reads rows of the stream as a norm does, its divisor held fixed.

  Rows are centred (LayerNorm) and divided by the divisor that the run had. Gain and
  bias are left out: fold them first (`interp_jax.models.process`).

  Args:
    cache: The cache.
    residual_stack: The rows, `[components, B, T, D]`.
    layer: The layer whose norm reads them; None (or -1) for the final norm.
    mlp_input: Whether it is the norm before the layer's MLP.
    pos_slice: Positions that the rows have; applied to the divisor.
    batch_slice: Rows of the batch to give; applied to both.
    has_batch_dim: Whether the stack has a batch axis.
    recompute_ln: Whether to apply the final norm itself, gain and bias included, to
      each row with a divisor of its own (a logit lens).

  Returns:
    The rows as they are read.

  Raises:
    ValueError: if no norm reads the stream there.
  """
  cfg = cache.cfg
  layer = layer_before(cfg, layer)
  if cfg.norm == 'none':
    return residual_stack
  if has_batch_dim:
    residual_stack = take(residual_stack, batch_slice, 1)
  if recompute_ln and layer == cfg.layers:
    return _final_norm(cache, residual_stack)
  if centers(cfg, layer):
    residual_stack = residual_stack - residual_stack.mean(-1, keepdims=True)
  scale = norm_scale(cache, layer, mlp_input, pos_slice)
  if cache.has_batch_dim:
    scale = take(scale, batch_slice, 0)
  return residual_stack / scale


def layer_before(cfg: TransformerConfig, layer: int | None) -> int:
  """The number of layers that a method reads: all for None and for -1."""
  if layer is None or layer == -1:
    return cfg.layers
  if not 0 <= layer <= cfg.layers:
    raise ValueError(f'layer={layer}: give 0..{cfg.layers}, or None for the end.')
  return layer


def embeddings(cache: Any) -> dict[str, jax.Array]:
  """What the stream begins as, by label; the rows sum to it."""
  cfg = cache.cfg
  if cfg.embed_norm and cfg.norm != 'none':  # Their norm's output is one row.
    return {'embed': cache['embed']}
  rows = {'embed': cache['embed']}
  if cfg.positions == 'learned':
    rows['pos_embed'] = cache['pos_embed']
  if cfg.token_types:
    rows['token_type_embed'] = cache['token_type_embed']
  return rows


def empty(cache: Any, pos_slice: SliceInput) -> jax.Array:
  """A stack of no rows."""
  row = take(cache['resid_pre', 0], pos_slice, -2)
  return jnp.zeros((0, *row.shape), row.dtype)


def check_sum(cfg: TransformerConfig) -> None:
  """Refuses models whose stream is not the sum of what was written to it."""
  if cfg.norm_placement == 'residual' and cfg.norm != 'none':
    raise ValueError(
      "The stream of this model is normed after each sum (norm_placement='residual', "
      'BERT), so that it is not the sum of what was written. accumulated_resid works.'
    )


def centers(cfg: TransformerConfig, layer: int) -> bool:
  """Whether the norm at a layer (or at the end) takes the mean off."""
  return cfg.norm == 'layernorm' and not (layer == cfg.layers and cfg.final_rms)


def norm_scale(
  cache: Any, layer: int, mlp_input: bool, pos_slice: SliceInput
) -> jax.Array:
  """The divisor of the norm that reads the stream at a layer, or at the end."""
  cfg = cache.cfg
  if layer == cfg.layers:
    if not cfg.final_norm or cfg.head == 'mlm':
      raise ValueError('No norm reads the end of the stream of this model.')
    name = 'ln_final.hook_scale'
  elif cfg.norm_placement == 'post':
    raise ValueError(
      "The layers of this model read the stream without a norm (norm_placement='post', "
      'OLMo 2): leave apply_ln out, or read the end.'
    )
  else:
    name = f'blocks.{layer}.ln{2 if mlp_input else 1}.hook_scale'
  return take(cache[name], pos_slice, -2)


def _final_norm(cache: Any, x: jax.Array) -> jax.Array:
  cfg = cache.cfg
  if not cfg.final_norm:
    return x
  norm = cache.params['ln_final']
  y = x - x.mean(-1, keepdims=True) if centers(cfg, cfg.layers) else x
  y = y / jnp.sqrt(jnp.mean(y * y, -1, keepdims=True) + cfg.norm_eps)
  return y * norm['w'] + norm.get('b', 0)
