"""BLOOM (Workshop 2022, arXiv:2211.05100): ALiBi, and a norm after the embedding."""

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


def _config(fields: Fields, names: Set[str]) -> dict[str, Any]:
  del names
  width = fields.take('hidden_size') or fields.need('n_embed')
  heads = fields.take('n_head') or fields.need('num_attention_heads')
  fields.require('apply_residual_connection_post_layernorm', False, default=False)
  fields.ignore(
    'attention_softmax_in_fp32',
    'bias_dropout_fusion',
    'masked_softmax_fusion',
    'offset_alibi',
    'seq_length',
    'skip_bias_add',
    'skip_bias_add_qkv',
    'unk_token_id',
    'n_embed',
    'num_attention_heads',
    'n_inner',
  )
  return {
    'vocab_size': fields.need('vocab_size'),
    'width': width,
    'layers': fields.need('n_layer'),
    'heads': heads,
    'head_dim': width // heads,
    'mlp_width': 4 * width,
    'context': 2048,  # ALiBi has no bound; this is what BLOOM was trained with.
    'norm_eps': fields.take('layer_norm_epsilon', 1e-5),
    'positions': 'alibi',
    'act': 'gelu_tanh',
    'embed_norm': True,
    'tied': fields.take('tie_word_embeddings', True),
  }


def _rows(cfg: TransformerConfig) -> list[Row]:
  layer = 'h.{l}'
  qkv = (
    f'{layer}.self_attention.query_key_value'  # Head by head: queries, keys, values.
  )
  return [
    Row('word_embeddings.weight', 'embed/W_E', 'v d -> v d'),
    *norm('word_embeddings_layernorm', 'ln_embed'),
    *norm(f'{layer}.input_layernorm', 'blocks/ln1'),
    *fused_heads(qkv, '(g n k) d -> (g n) d k', '(g n k) -> (g n) k'),
    *heads_out(f'{layer}.self_attention.dense', True),
    *norm(f'{layer}.post_attention_layernorm', 'blocks/ln2'),
    *linear(f'{layer}.mlp.dense_h_to_4h', 'blocks/mlp/{}_in', True),
    *linear(f'{layer}.mlp.dense_4h_to_h', 'blocks/mlp/{}_out', True),
    *norm('ln_f', 'ln_final'),
    *unembed('lm_head', cfg),
  ]


BLOOM = Family(
  'BLOOM',
  ('bloom',),
  _config,
  _rows,
  prefix='transformer.',
)
