"""Falcon (Almazrouei et al. 2023, arXiv:2311.16867): few key heads, parallel layers."""

from collections.abc import Set
from typing import Any

from interp_jax.models.config import TransformerConfig
from interp_jax.models.conversion import Row
from interp_jax.models.families.family import (
  Family,
  fused_heads,
  heads_out,
  linear,
  norm,
  unembed,
)
from interp_jax.models.families.fields import Fields
from interp_jax.models.families.rope import rotary_fields


def _config(fields: Fields, names: Set[str]) -> dict[str, Any]:
  del names
  width, heads = fields.need('hidden_size'), fields.need('num_attention_heads')
  fields.require(
    'alibi', False, default=False, why='Its biases are rounded to 16 bits.'
  )
  fields.require('apply_residual_connection_post_layernorm', False, default=False)
  new = fields.take('new_decoder_architecture', False)
  single = fields.take('multi_query', True)
  grouped = fields.take('num_kv_heads', heads)
  parallel = fields.take('parallel_attn', True) or new
  norms = fields.take('num_ln_in_parallel_attn', 2 if new else 1)
  bias = fields.take('bias', False)
  return {
    'vocab_size': fields.need('vocab_size'),
    'width': width,
    'layers': fields.need('num_hidden_layers'),
    'heads': heads,
    'head_dim': width // heads,
    'kv_heads': grouped if new else 1 if single else heads,
    'mlp_width': fields.take('ffn_hidden_size', 4 * width),
    'context': fields.take('max_position_embeddings', 2048),
    'norm_eps': fields.take('layer_norm_epsilon', 1e-5),
    'act': fields.activation('activation', 'gelu'),
    'parallel': parallel,
    'shared_norm': parallel and norms == 1,
    'qkv_bias': bias,
    'attn_out_bias': bias,
    'mlp_bias': bias,
    'tied': fields.take('tie_word_embeddings', True),
    **rotary_fields(fields, width // heads),
  }


def _rows(cfg: TransformerConfig) -> list[Row]:
  layer = 'h.{l}'
  qkv = (
    f'{layer}.self_attention.query_key_value'  # Group by group: queries, key, value.
  )
  bias = '(g n k) -> (g n) k' if cfg.qkv_bias else None
  return [
    Row('word_embeddings.weight', 'embed/W_E', 'v d -> v d'),
    *_norms(cfg, layer),
    *fused_heads(qkv, '(g n k) d -> (g n) d k', bias),
    *heads_out(f'{layer}.self_attention.dense', cfg.attn_out_bias),
    *linear(f'{layer}.mlp.dense_h_to_4h', 'blocks/mlp/{}_in', cfg.mlp_bias),
    *linear(f'{layer}.mlp.dense_4h_to_h', 'blocks/mlp/{}_out', cfg.mlp_bias),
    *norm('ln_f', 'ln_final'),
    *unembed('lm_head', cfg),
  ]


def _norms(cfg: TransformerConfig, layer: str) -> list[Row]:
  if cfg.shared_norm:
    return norm(f'{layer}.input_layernorm', 'blocks/ln1')
  if cfg.parallel:
    first, second = 'ln_attn', 'ln_mlp'
  else:
    first, second = 'input_layernorm', 'post_attention_layernorm'
  return [
    *norm(f'{layer}.{first}', 'blocks/ln1'),
    *norm(f'{layer}.{second}', 'blocks/ln2'),
  ]


FALCON = Family(
  'Falcon',
  ('falcon',),
  _config,
  _rows,
  prefix='transformer.',
  unused=(r'h\.\d+\.self_attention\.rotary_emb\.inv_freq',),
)
