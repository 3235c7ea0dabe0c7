"""GPT-NeoX and Pythia (Black et al. 2022; Biderman et al. 2023): parallel layers."""

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
  share = fields.take('rotary_pct', 0.25)
  base = fields.take('rotary_emb_base', 10_000)
  bias = fields.take('attention_bias', True)
  fields.require('is_decoder', False, True, default=False)
  return {
    'vocab_size': fields.need('vocab_size'),
    'width': width,
    'layers': fields.need('num_hidden_layers'),
    'heads': heads,
    'head_dim': width // heads,
    'mlp_width': fields.need('intermediate_size'),
    'context': fields.need('max_position_embeddings'),
    'norm_eps': fields.take('layer_norm_eps', 1e-5),
    'act': fields.activation('hidden_act', 'gelu'),
    'parallel': fields.take('use_parallel_residual', True),
    'qkv_bias': bias,
    'attn_out_bias': bias,
    'tied': fields.take('tie_word_embeddings', False),
    **rotary_fields(
      fields, width // heads, rope_theta=base, partial_rotary_factor=share
    ),
  }


def _rows(cfg: TransformerConfig) -> list[Row]:
  layer = 'layers.{l}'
  qkv = f'{layer}.attention.query_key_value'  # Head by head: queries, keys, values.
  bias = '(g n k) -> (g n) k' if cfg.qkv_bias else None
  return [
    Row('embed_in.weight', 'embed/W_E', 'v d -> v d'),
    *norm(f'{layer}.input_layernorm', 'blocks/ln1'),
    *fused_heads(qkv, '(g n k) d -> (g n) d k', bias),
    *heads_out(f'{layer}.attention.dense', cfg.attn_out_bias),
    *norm(f'{layer}.post_attention_layernorm', 'blocks/ln2'),
    *linear(f'{layer}.mlp.dense_h_to_4h', 'blocks/mlp/{}_in', True),
    *linear(f'{layer}.mlp.dense_4h_to_h', 'blocks/mlp/{}_out', True),
    *norm('final_layer_norm', 'ln_final'),
    *unembed('embed_out', cfg),
  ]


GPT_NEOX = Family(
  'GPT-NeoX, Pythia',
  ('gpt_neox',),
  _config,
  _rows,
  prefix='gpt_neox.',
  head='embed_out.weight',
  unused=(
    r'layers\.\d+\.attention\.(masked_)?bias',
    r'layers\.\d+\.attention\.rotary_emb\.inv_freq',
  ),
)
