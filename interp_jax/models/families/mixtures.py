"""Mixtures of experts in Llama's layout: Mixtral and Qwen 3 MoE.

Jiang et al. 2024, arXiv:2401.04088; Qwen team 2025, arXiv:2505.09388.
"""

from collections.abc import Set
from typing import Any

from interp_jax.models.config import TransformerConfig
from interp_jax.models.conversion import Row
from interp_jax.models.families.family import Family
from interp_jax.models.families.fields import Fields
from interp_jax.models.families.llama import (
  UNUSED,
  attention_rows,
  decoder_fields,
  outer_rows,
  pre_norm_rows,
)


def _mixtral(fields: Fields, names: Set[str]) -> dict[str, Any]:
  del names
  return {
    **decoder_fields(fields, rope_theta=1e6, rms_norm_eps=1e-5),
    'windows': fields.take('sliding_window'),
    'experts': fields.take('num_local_experts', 8),
    'experts_per_token': fields.take('num_experts_per_tok', 2),
  }


def _qwen3(fields: Fields, names: Set[str]) -> dict[str, Any]:
  del names
  why = 'Layers of experts and layers of one MLP cannot be stacked.'
  fields.require('decoder_sparse_step', 1, default=1, why=why)
  fields.require('mlp_only_layers', [], default=[], why=why)
  bias = fields.take('attention_bias', False)
  sliding = fields.take('use_sliding_window', False)
  window = fields.take('sliding_window')
  fields.ignore('max_window_layers')
  experts = fields.take('num_local_experts') or fields.take('num_experts', 128)
  fields.ignore('num_experts')
  return {
    **decoder_fields(fields),
    'mlp_width': fields.need('moe_intermediate_size'),
    'qkv_bias': bias,
    'attn_out_bias': bias,
    'qk_norm': 'head',
    'windows': window if sliding else None,
    'experts': experts,
    'experts_per_token': fields.take('num_experts_per_tok', 8),
    'renormalize_experts': fields.take('norm_topk_prob', False),
  }


def _expert_rows(
  cfg: TransformerConfig, mlp: str, gate: str, up: str, down: str
) -> list[Row]:
  expert = f'{mlp}.experts.{{e}}'
  return [
    *outer_rows(cfg),
    *pre_norm_rows(),
    *attention_rows(cfg),
    Row(f'{mlp}.gate.weight', 'blocks/experts/W_router', 'e d -> d e'),
    Row(f'{expert}.{gate}.weight', 'blocks/experts/W_gate', 'm d -> d m'),
    Row(f'{expert}.{up}.weight', 'blocks/experts/W_in', 'm d -> d m'),
    Row(f'{expert}.{down}.weight', 'blocks/experts/W_out', 'd m -> m d'),
  ]


def _mixtral_rows(cfg: TransformerConfig) -> list[Row]:
  return _expert_rows(cfg, 'layers.{l}.block_sparse_moe', 'w1', 'w3', 'w2')


def _qwen3_rows(cfg: TransformerConfig) -> list[Row]:
  return _expert_rows(cfg, 'layers.{l}.mlp', 'gate_proj', 'up_proj', 'down_proj')


MIXTRAL = Family('Mixtral', ('mixtral',), _mixtral, _mixtral_rows, 'model.', UNUSED)
QWEN3_MOE = Family('Qwen 3 MoE', ('qwen3_moe',), _qwen3, _qwen3_rows, 'model.', UNUSED)
