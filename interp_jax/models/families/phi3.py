"""Phi-3 (Abdin et al. 2024, arXiv:2404.14219): Llama with its projections fused."""

from collections.abc import Set
from typing import Any

from interp_jax.models.config import TransformerConfig
from interp_jax.models.conversion import Row
from interp_jax.models.families.family import Family, fused_heads, heads_out, linear
from interp_jax.models.families.fields import Fields
from interp_jax.models.families.llama import (
  UNUSED,
  decoder_fields,
  outer_rows,
  pre_norm_rows,
)


def _config(fields: Fields, names: Set[str]) -> dict[str, Any]:
  del names
  fields.require('attention_bias', False, default=False)
  fields.ignore('original_max_position_embeddings')
  return {
    **decoder_fields(fields, rms_norm_eps=1e-5, partial_rotary_factor=1.0),
    'windows': fields.take('sliding_window'),
  }


def _rows(cfg: TransformerConfig) -> list[Row]:
  gate_up = ('blocks/mlp/W_gate', 'blocks/mlp/W_in')
  return [
    *outer_rows(cfg),
    *pre_norm_rows(),
    *fused_heads('layers.{l}.self_attn.qkv_proj', '(n k) d -> n d k'),
    *heads_out('layers.{l}.self_attn.o_proj', False),
    Row('layers.{l}.mlp.gate_up_proj.weight', gate_up, 'n d -> d n'),
    *linear('layers.{l}.mlp.down_proj', 'blocks/mlp/{}_out', False),
  ]


PHI3 = Family('Phi-3', ('phi3',), _config, _rows, 'model.', unused=UNUSED)
