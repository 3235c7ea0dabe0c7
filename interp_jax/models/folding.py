"""Norms folded into the weights that read them: the parts of `processing.fold_ln`."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from interp_jax.models.config import TransformerConfig
from interp_jax.models.primitives import wide

Params = dict[str, Any]
# A part of the layers, and which of its weights read a norm.
_Reads = tuple[str, tuple[str, ...]]


def fold_blocks(blocks: Params, cfg: TransformerConfig) -> tuple[Params, Any]:
  """Folds the norms of the layers.

  Args:
    blocks: The layers' parameters.
    cfg: The model's config.

  Returns:
    The parameters, and the config that describes them.
  """
  before = cfg.norm != 'none' and cfg.norm_placement in ('pre', 'sandwich')
  mlp = 'experts' if cfg.experts else 'mlp'
  # The readers of a norm are folded together or not at all.
  fits_mlp = before and not (cfg.experts and cfg.norm == 'layernorm')
  fits_attn = before and cfg.positions != 'shortformer'
  reads_ln1: list[_Reads] = [('attn', ('Q', 'K', 'V'))]
  reads_mlp: list[_Reads] = [(mlp, _reading_mlp(cfg))]
  if cfg.shared_norm:
    reads_ln1, fits_attn = reads_ln1 + reads_mlp, fits_attn and fits_mlp
  if fits_attn:
    blocks = _fold_into(blocks, cfg.norm, 'ln1', reads_ln1)
  if fits_mlp and not cfg.attn_only and not cfg.shared_norm:
    blocks = _fold_into(blocks, cfg.norm, 'ln2', reads_mlp)
  if cfg.act == 'solu_ln' and not cfg.attn_only:
    # SoLU's own norm is a LayerNorm in every model, and W_out reads it.
    norm, out = fold('layernorm', blocks['mlp']['ln'], blocks['mlp'], ('out',))
    blocks = {**blocks, 'mlp': {**out, 'ln': norm}}
  return _complete_biases(blocks, cfg)


def _fold_into(blocks: Params, kind: str, norm: str, readers: list[_Reads]) -> Params:
  out = dict(blocks)
  for part, names in readers:
    out[norm], out[part] = fold(kind, blocks[norm], blocks[part], names)
  return out


def fold(
  kind: str, norm: Params, part: Params, names: tuple[str, ...]
) -> tuple[Params, Params]:
  """The norm without gain and bias, and the weights that read it with them.

  Args:
    kind: 'layernorm' (bias folded, readers centred) or 'rmsnorm'.
    norm: Its parameters, of one norm or of one per layer.
    part: The parameters of what reads it.
    names: Which of them do, without `W_`; each reads along its last axis but one, as
      `W_Q [L, H, D, K]` and `W_U [D, V]` do, and has (or gets) the bias of that name.

  Returns:
    Both.
  """
  part = dict(part)
  for name in names:
    dtype = part[f'W_{name}'].dtype
    weight = part[f'W_{name}'].astype(wide(dtype))
    folded = weight * _along(norm['w'], weight)
    if kind == 'layernorm':
      bias = (weight * _along(norm['b'], weight)).sum(-2)
      part[f'b_{name}'] = (bias + part.get(f'b_{name}', 0)).astype(dtype)
      folded = folded - folded.mean(-2, keepdims=True)
    part[f'W_{name}'] = folded.astype(dtype)
  plain = {'w': jnp.ones_like(norm['w'])}
  if 'b' in norm:
    plain['b'] = jnp.zeros_like(norm['b'])
  return plain, part


def _along(vector: jax.Array, weight: jax.Array) -> jax.Array:
  """A vector per layer, shaped to scale the rows of each of the layer's matrices."""
  *layers, size = vector.shape
  ones = [1] * (weight.ndim - vector.ndim - 1)
  return vector.reshape(*layers, *ones, size, 1)


def _complete_biases(blocks: Params, cfg: TransformerConfig) -> tuple[Params, Any]:
  """Zeros for the biases that the config has beside those that folding made."""
  qkv = 'b_Q' in blocks['attn']
  cfg = dataclasses.replace(cfg, qkv_bias=qkv)
  if cfg.attn_only or cfg.experts:
    return blocks, cfg
  mlp = dict(blocks['mlp'])
  if any(name.startswith('b_') for name in mlp):
    cfg = dataclasses.replace(cfg, mlp_bias=True)
    for name in (*_reading_mlp(cfg), 'out'):
      weight = mlp[f'W_{name}']
      mlp.setdefault(f'b_{name}', jnp.zeros_like(weight[:, 0]))
  return {**blocks, 'mlp': mlp}, cfg


def _reading_mlp(cfg: TransformerConfig) -> tuple[str, ...]:
  if cfg.experts:
    return ('router', 'gate', 'in')
  return ('gate', 'in') if cfg.gated else ('in',)
