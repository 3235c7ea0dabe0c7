"""GPT-Neo (Black et al. 2021): every other layer local, scores without a scale."""

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


def _config(fields: Fields, names: Set[str]) -> dict[str, Any]:
  del names
  width, count = fields.need('hidden_size'), fields.need('num_heads')
  window = fields.take('window_size', 256)
  kinds = fields.take('attention_layers') or []
  for pattern, times in fields.take('attention_types', []):
    kinds = kinds if fields.take('attention_layers') else kinds + pattern * times
  return {
    'vocab_size': fields.need('vocab_size'),
    'width': width,
    'layers': fields.need('num_layers'),
    'heads': count,
    'head_dim': width // count,
    'mlp_width': fields.take('intermediate_size', 4 * width),
    'context': fields.need('max_position_embeddings'),
    'norm_eps': fields.take('layer_norm_epsilon', 1e-5),
    'act': fields.activation('activation_function', 'gelu_new'),
    'attn_scale': 1.0,
    'windows': [window if kind == 'local' else None for kind in kinds],
    'qkv_bias': False,
    'tied': fields.take('tie_word_embeddings', True),
  }


def _rows(cfg: TransformerConfig) -> list[Row]:
  attn = 'h.{l}.attn.attention'
  return [
    Row('wte.weight', 'embed/W_E', 'v d -> v d'),
    Row('wpe.weight', 'pos_embed/W_pos', 't d -> t d'),
    *norm('h.{l}.ln_1', 'blocks/ln1'),
    *heads(f'{attn}.q_proj', 'Q', False),
    *heads(f'{attn}.k_proj', 'K', False),
    *heads(f'{attn}.v_proj', 'V', False),
    *heads_out(f'{attn}.out_proj', True),
    *norm('h.{l}.ln_2', 'blocks/ln2'),
    *linear('h.{l}.mlp.c_fc', 'blocks/mlp/{}_in', True),
    *linear('h.{l}.mlp.c_proj', 'blocks/mlp/{}_out', True),
    *norm('ln_f', 'ln_final'),
    *unembed('lm_head', cfg),
  ]


GPT_NEO = Family(
  'GPT-Neo',
  ('gpt_neo',),
  _config,
  _rows,
  prefix='transformer.',
  unused=(r'h\.\d+\.attn\.attention\.(masked_)?bias', r'lm_head\.weight'),
)
