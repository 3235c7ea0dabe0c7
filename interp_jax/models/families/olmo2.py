"""OLMo 2 (arXiv:2501.00656): norms after attention and MLP, and on queries and keys."""

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
)


def _config(fields: Fields, names: Set[str]) -> dict[str, Any]:
  del names
  bias = fields.take('attention_bias', False)
  return {
    **decoder_fields(fields, rms_norm_eps=1e-5),
    'norm_placement': 'post',
    'qkv_bias': bias,
    'attn_out_bias': bias,
    'qk_norm': 'width',
  }


def _rows(cfg: TransformerConfig) -> list[Row]:
  return [
    *outer_rows(cfg),
    *norm('layers.{l}.post_attention_layernorm', 'blocks/ln1_post', False),
    *norm('layers.{l}.post_feedforward_layernorm', 'blocks/ln2_post', False),
    *attention_rows(cfg),
    *mlp_rows(cfg),
  ]


OLMO2 = Family('OLMo 2', ('olmo2',), _config, _rows, 'model.', UNUSED)
