"""OPT (Zhang et al. 2022): ReLU, and two leading positions that hold no token."""

from collections.abc import Set
from typing import Any

from interp_jax.models.config import TransformerConfig
from interp_jax.models.conversion import Row
from interp_jax.models.families.family import (
  Family,
  heads,
  heads_out,
  linear,
  norm,
  unembed,
)
from interp_jax.models.families.fields import Fields

_RESERVED = 2  # Rows of the position embedding before that of the first token.


def _config(fields: Fields, names: Set[str]) -> dict[str, Any]:
  del names
  width, count = fields.need('hidden_size'), fields.need('num_attention_heads')
  bias = fields.take('enable_bias', True)
  before = fields.take('do_layer_norm_before', True)
  final = not fields.take('_remove_final_layer_norm', False) and before
  fields.require(
    'word_embed_proj_dim',
    width,
    default=width,
    why='Its embedding is narrower than its residual stream (OPT-350M).',
  )
  fields.require('layer_norm_elementwise_affine', True, default=True)
  fields.ignore('dropout', 'attention_probs_dropout_prob')
  return {
    'vocab_size': fields.need('vocab_size'),
    'width': width,
    'layers': fields.need('num_hidden_layers'),
    'heads': count,
    'head_dim': width // count,
    'mlp_width': fields.need('ffn_dim'),
    'context': fields.need('max_position_embeddings'),
    'norm_placement': 'pre' if before else 'residual',
    'act': fields.activation('activation_function', 'relu'),
    'qkv_bias': bias,
    'attn_out_bias': bias,
    'mlp_bias': bias,
    'final_norm': final,
    'tied': fields.take('tie_word_embeddings', True),
  }


def _rows(cfg: TransformerConfig) -> list[Row]:
  layer = 'layers.{l}'
  attn = f'{layer}.self_attn'
  positions = 'embed_positions.weight'
  return [
    Row('embed_tokens.weight', 'embed/W_E', 'v d -> v d'),
    Row(positions, 'pos_embed/W_pos', 't d -> t d', skip=_RESERVED),
    *norm(f'{layer}.self_attn_layer_norm', 'blocks/ln1'),
    *heads(f'{attn}.q_proj', 'Q', cfg.qkv_bias),
    *heads(f'{attn}.k_proj', 'K', cfg.qkv_bias),
    *heads(f'{attn}.v_proj', 'V', cfg.qkv_bias),
    *heads_out(f'{attn}.out_proj', cfg.attn_out_bias),
    *norm(f'{layer}.final_layer_norm', 'blocks/ln2'),
    *linear(f'{layer}.fc1', 'blocks/mlp/{}_in', cfg.mlp_bias),
    *linear(f'{layer}.fc2', 'blocks/mlp/{}_out', cfg.mlp_bias),
    *(norm('final_layer_norm', 'ln_final') if cfg.final_norm else []),
    *unembed('lm_head', cfg),
  ]


OPT = Family(
  'OPT',
  ('opt',),
  _config,
  _rows,
  prefix='model.decoder.',
  unused=(r'lm_head\.weight',),
  renamed={r'^decoder\.': 'model.decoder.'},
)
