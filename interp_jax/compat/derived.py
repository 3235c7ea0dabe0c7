"""Activations that TransformerLens keeps and that are computed here when asked for."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.compat.hooks import Hook
from interp_jax.models import TransformerConfig
from interp_jax.models.primitives import activation

# Site, layer → its activation in that layer.
Read = Callable[..., Any]


def derive(
  hook: Hook, cfg: TransformerConfig, params: Mapping[str, Any], read: Read
) -> Any:
  """The activation of a hook, from those of sites.

  Args:
    hook: The hook; if it is a site, that is read.
    cfg: The model's config.
    params: The model's parameters.
    read: `read(site, layer)` → the activation, layer axis taken off.

  Returns:
    The activation.
  """
  kind, layer = hook.kind, hook.layer
  if hook.site:
    return read(hook.site, layer)
  if kind.endswith('.before_gain'):
    return _before_gain(kind.removesuffix('.before_gain'), layer, cfg, params, read)
  if hook.expert is not None:
    return _of_one_expert(kind.removesuffix(' of one'), hook, read)
  part, _, what = kind.partition('_norm_')
  if part in ('q', 'k') and what:
    return _qk_norm(part, what, layer, cfg, read)
  return _RULES[kind](layer, cfg, params, read)


def layer_params(params: Mapping[str, Any], part: str, layer: int) -> dict[str, Any]:
  """The arrays of one part of one layer, without the layer axis."""
  own = params['blocks'][part].items()
  return {k: v[layer] for k, v in own if not isinstance(v, Mapping)}


def unembedding_matrix(cfg: TransformerConfig, params: Mapping[str, Any]) -> Any:
  """`W_U [D, V]`, the embedding's transpose in a tied model."""
  return params['embed']['W_E'].T if cfg.tied else params['unembed']['W_U']


def _before_gain(norm, layer, cfg, params, read):
  """What a norm divides, divided: its output without gain and bias."""
  kind = 'rmsnorm' if norm == 'ln_final' and cfg.final_rms else cfg.norm
  x = _norm_input(norm, layer, cfg, params, read)
  scale = read(f'{norm}.scale', layer)
  y = x.astype(scale.dtype)
  if kind == 'layernorm':
    y = y - y.mean(-1, keepdims=True)
  return (y / scale).astype(x.dtype)


def _norm_input(norm, layer, cfg, params, read):
  if norm == 'ln_final':
    return _final_input(cfg, params, read)
  if norm == 'ln_embed':
    rows = ['pos_embed'] * (cfg.positions == 'learned')
    rows += ['token_type_embed'] * (cfg.token_types > 0)
    return sum((read(row, None) for row in rows), read('embed', None))
  if norm == 'ln1_post':
    attn = layer_params(params, 'attn', layer)
    out = jnp.einsum('...hk,hkd->...d', read('z', layer), attn['W_O'])
    return out + attn.get('b_O', 0)
  if norm == 'ln2_post':
    return _mlp_output(layer, cfg, params, read)
  if cfg.norm_placement == 'residual':
    last = norm == 'ln2' or cfg.attn_only
    return read('resid_post' if last else 'resid_mid', layer)
  return read('resid_pre' if norm == 'ln1' or cfg.parallel else 'resid_mid', layer)


def _mlp_output(layer, cfg, params, read):
  if cfg.experts:
    outputs, weights = read('expert_out', layer), read('expert_weights', layer)
    return jnp.einsum('...cd,...c->...d', outputs, weights.astype(outputs.dtype))
  mlp = layer_params(params, 'mlp', layer)
  return read('post', layer) @ mlp['W_out'] + mlp.get('b_out', 0)


def _final_input(cfg, params, read):
  """What the final norm reads, or the unembedding where there is none."""
  if cfg.norm_placement == 'residual' and cfg.norm != 'none':
    last = 'ln1' if cfg.attn_only else 'ln2'
    x = read(f'{last}.normalized', cfg.layers - 1)
  else:
    x = read('resid_post', cfg.layers - 1)
  if cfg.head != 'mlm':
    return x
  dense = params['mlm_dense']
  return activation(cfg.act)(x @ dense['W'] + dense['b'])


def _unembed_in(layer, cfg, params, read):
  del layer
  if cfg.final_norm and cfg.norm != 'none':
    return read('ln_final.normalized', None)
  return _final_input(cfg, params, read)


def _unembed_out(layer, cfg, params, read):
  """The logits before they are capped."""
  x = _unembed_in(layer, cfg, params, read)
  return x @ unembedding_matrix(cfg, params) + params.get('unembed', {}).get('b_U', 0)


def _copies(count: str):
  def rule(layer, cfg, params, read):
    del params
    x = read('resid_pre', layer)[..., None, :]
    return jnp.broadcast_to(x, (*x.shape[:-2], getattr(cfg, count), x.shape[-1]))

  return rule


def _result(layer, cfg, params, read):
  del cfg
  writers = params['blocks']['attn']['W_O'][layer]
  return jnp.einsum('...hk,hkd->...hd', read('z', layer), writers)


def _shortformer_input(layer, cfg, params, read):
  del params
  normed = 'ln1.normalized' if cfg.norm != 'none' else 'resid_pre'
  return read(normed, layer) + read('pos_embed', None)


def _solu_scale(layer, cfg, params, read):
  del params
  x = read('mid', layer)
  return jnp.sqrt(x.var(-1, keepdims=True) + cfg.norm_eps)


def _solu_normalized(layer, cfg, params, read):
  x = read('mid', layer)
  return (x - x.mean(-1, keepdims=True)) / _solu_scale(layer, cfg, params, read)


def _probabilities(layer, cfg, params, read):
  del cfg, params
  return jax.nn.softmax(read('router_logits', layer), -1)


def _qk_norm(part, what, layer, cfg, read):
  """Of queries and keys; normed over each head, or over all of them as one vector."""
  x = read(part, layer)
  if cfg.qk_norm == 'width':
    x = x.reshape(*x.shape[:-2], -1)
  scale = jnp.sqrt(jnp.mean(x * x, -1, keepdims=True) + cfg.norm_eps)
  return scale if what == 'scale' else x / scale


def _of_one_expert(site, hook, read):
  """The rows of the tokens that pass an expert: first choices first, then by token.

  How many there are depends on the values, so that this cannot be compiled.
  """
  choices = np.asarray(read('expert_choices', hook.layer))
  chosen = choices.reshape(-1, choices.shape[-1]).T
  slots, tokens = np.nonzero(chosen == hook.expert)
  act = read(site, hook.layer)
  return act.reshape(-1, *act.shape[-2:])[tokens, slots]


_RULES: Mapping[str, Callable[..., Any]] = {
  'per_head_input': _copies('heads'),
  'per_group_input': _copies('kv_heads'),
  'shortformer_input': _shortformer_input,
  'result': _result,
  'solu_scale': _solu_scale,
  'solu_normalized': _solu_normalized,
  'expert_probabilities': _probabilities,
  'unembed_in': _unembed_in,
  'unembed_out': _unembed_out,
}
