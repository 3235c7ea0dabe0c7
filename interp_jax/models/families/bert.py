"""BERT (Devlin et al. 2018, arXiv:1810.04805): an encoder, with or without its heads.

Files of a masked language model have the head `cls.predictions`; files of the bare
encoder (sentence embedders, say) have not, and `model.apply` gives its last residual
stream. The head for next sentences is not read.
"""

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
)
from interp_jax.models.families.fields import Fields

_HEAD = 'cls.predictions'


def _config(fields: Fields, names: Set[str]) -> dict[str, Any]:
  width, count = fields.need('hidden_size'), fields.need('num_attention_heads')
  fields.require('position_embedding_type', 'absolute', default='absolute')
  fields.require('is_decoder', False, default=False)
  head = f'{_HEAD}.transform.dense.weight' in names
  tied = fields.take('tie_word_embeddings', True)
  return {
    'vocab_size': fields.need('vocab_size'),
    'width': width,
    'layers': fields.need('num_hidden_layers'),
    'heads': count,
    'head_dim': width // count,
    'mlp_width': fields.need('intermediate_size'),
    'context': fields.need('max_position_embeddings'),
    'norm_placement': 'residual',
    'norm_eps': fields.take('layer_norm_eps', 1e-12),
    'causal': False,
    'act': fields.activation('hidden_act', 'gelu'),
    'embed_norm': True,
    'token_types': fields.take('type_vocab_size', 2),
    'head': 'mlm' if head else 'none',
    'final_norm': head,
    'unembed_bias': head,
    'tied': head and tied,
    'pooler': 'pooler.dense.weight' in names,
  }


def _rows(cfg: TransformerConfig) -> list[Row]:
  layer = 'encoder.layer.{l}'
  attn = f'{layer}.attention.self'
  table = 'embeddings.{}_embeddings.weight'
  return [
    Row(table.format('word'), 'embed/W_E', 'v d -> v d'),
    Row(table.format('position'), 'pos_embed/W_pos', 't d -> t d'),
    Row(table.format('token_type'), 'token_type_embed/W_type', 's d -> s d'),
    *norm('embeddings.LayerNorm', 'ln_embed'),
    *heads(f'{attn}.query', 'Q', True),
    *heads(f'{attn}.key', 'K', True),
    *heads(f'{attn}.value', 'V', True),
    *heads_out(f'{layer}.attention.output.dense', True),
    *norm(f'{layer}.attention.output.LayerNorm', 'blocks/ln1'),
    *linear(f'{layer}.intermediate.dense', 'blocks/mlp/{}_in', True),
    *linear(f'{layer}.output.dense', 'blocks/mlp/{}_out', True),
    *norm(f'{layer}.output.LayerNorm', 'blocks/ln2'),
    *(linear('pooler.dense', 'pooler/{}', True) if cfg.pooler else []),
    *(_head_rows(cfg) if cfg.head == 'mlm' else []),
  ]


def _head_rows(cfg: TransformerConfig) -> list[Row]:
  rows = [
    *linear(f'{_HEAD}.transform.dense', 'mlm_dense/{}', True),
    *norm(f'{_HEAD}.transform.LayerNorm', 'ln_final'),
    Row(f'{_HEAD}.bias', 'unembed/b_U', 'v -> v'),
  ]
  if not cfg.tied:
    rows.append(Row(f'{_HEAD}.decoder.weight', 'unembed/W_U', 'v d -> d v'))
  return rows


BERT = Family(
  'BERT',
  ('bert',),
  _config,
  _rows,
  prefix='bert.',
  unused=(
    r'embeddings\.position_ids',
    r'cls\.seq_relationship\.(weight|bias)',
    r'cls\.predictions\.decoder\.(weight|bias)',
  ),
  renamed={r'\.gamma$': '.weight', r'\.beta$': '.bias'},
)
