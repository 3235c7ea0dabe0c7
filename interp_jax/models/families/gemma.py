"""Gemma 1, 2 and 3, text (arXiv:2403.08295, 2408.00118, 2503.19786).

Gains are stored less one; the embedding is scaled by the root of the width.
"""

from collections.abc import Set
from typing import Any

from interp_jax.models.config import TransformerConfig
from interp_jax.models.conversion import Row
from interp_jax.models.families.family import Family, norm
from interp_jax.models.families.fields import Fields
from interp_jax.models.families.llama import (
  UNUSED,
  attention_rows,
  decoder_fields,
  mlp_rows,
  outer_rows,
  pre_norm_rows,
  windows,
)
from interp_jax.models.families.rope import rope_parameters, scaling


def _gemma(fields: Fields, names: Set[str], rotary: bool = True) -> dict[str, Any]:
  del names
  # Gemma 1 files say 'gelu' in hidden_act, but the models were trained with its tanh.
  given = fields.take('hidden_act', 'gelu')
  given = 'gelu_pytorch_tanh' if given == 'gelu' else given
  act = fields.activation('hidden_activation', given)
  bias = fields.take('attention_bias', False)
  why = 'Bidirectional Gemma models are not read.'
  fields.require('use_bidirectional_attention', None, False, why=why)
  default = {'act': 'gelu_pytorch_tanh', 'tied': True, 'head_dim': 256}
  return {
    **decoder_fields(fields, rotary, **default),
    'act': act,
    'qkv_bias': bias,
    'attn_out_bias': bias,
    'embed_scale': fields.need('hidden_size') ** 0.5,
  }


def _gemma2(fields: Fields, names: Set[str], rotary: bool = True) -> dict[str, Any]:
  layers = fields.need('num_hidden_layers')
  kinds = ['sliding_attention', 'full_attention'] * layers
  return {
    **_gemma(fields, names, rotary),
    'norm_placement': 'sandwich',
    'attn_scale': fields.take('query_pre_attn_scalar', 256) ** -0.5,
    'attn_softcap': fields.take('attn_logit_softcapping'),
    'logit_softcap': fields.take('final_logit_softcapping'),
    'windows': windows(fields, kinds[:layers], fields.take('sliding_window', 4096)),
  }


def _gemma3(fields: Fields, names: Set[str]) -> dict[str, Any]:
  every = fields.take('_sliding_window_pattern', 6)
  every = fields.take('sliding_window_pattern', every)
  kinds = [
    'sliding_attention' if (layer + 1) % every else 'full_attention'
    for layer in range(fields.need('num_hidden_layers'))
  ]
  window = fields.take('sliding_window', 4096)
  kinds = fields.take('layer_types', kinds)
  return {
    **_gemma2(fields, names, rotary=False),
    'qk_norm': 'head',
    'windows': windows(fields, kinds, window),
    'positions': 'rotary',
    **_gemma3_rotary(fields, kinds),
  }


def _gemma3_rotary(fields: Fields, kinds: list[str]) -> dict[str, Any]:
  """One base and scaling for layers that see a window, others for the rest."""
  local_base = fields.take('rope_local_base_freq', 10_000.0)
  by_kind = fields.take('rope_parameters') or {}
  if 'full_attention' not in by_kind:
    by_kind = {
      'full_attention': rope_parameters(fields, rope_theta=1e6),
      'sliding_attention': {'rope_theta': local_base},
    }
  scalings = {kind: scaling(rope, fields) for kind, rope in by_kind.items()}
  return {
    'rotary_base': [float(by_kind[kind]['rope_theta']) for kind in kinds],
    'rotary_scaling': [scalings[kind] for kind in kinds],
  }


def _gemma_rows(cfg: TransformerConfig) -> list[Row]:
  return [
    *outer_rows(cfg, plus=1.0),
    *pre_norm_rows(plus=1.0),
    *attention_rows(cfg),
    *mlp_rows(cfg),
  ]


def _sandwich_rows(cfg: TransformerConfig) -> list[Row]:
  def gain(source: str, target: str) -> list[Row]:
    return norm(f'layers.{{l}}.{source}_layernorm', f'blocks/{target}', False, 1.0)

  return [
    *outer_rows(cfg, plus=1.0),
    *gain('input', 'ln1'),
    *gain('post_attention', 'ln1_post'),
    *gain('pre_feedforward', 'ln2'),
    *gain('post_feedforward', 'ln2_post'),
    *attention_rows(cfg, plus=1.0),
    *mlp_rows(cfg),
  ]


GEMMA = Family('Gemma 1', ('gemma',), _gemma, _gemma_rows, 'model.', UNUSED)
GEMMA2 = Family('Gemma 2', ('gemma2',), _gemma2, _sandwich_rows, 'model.', UNUSED)
GEMMA3 = Family('Gemma 3', ('gemma3_text',), _gemma3, _sandwich_rows, 'model.', UNUSED)
