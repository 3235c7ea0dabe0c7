"""Llama 2 and 3 and Mistral, and the layout that most later families kept.

Touvron et al. 2023, arXiv:2307.09288; Jiang et al. 2023, arXiv:2310.06825.
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
  unembed,
)
from interp_jax.models.families.fields import Fields
from interp_jax.models.families.rope import rotary_fields

UNUSED = (r'layers\.\d+\.self_attn\.rotary_emb\.inv_freq', r'lm_head\.weight')


def decoder_fields(
  fields: Fields, rotary: bool = True, **default: Any
) -> dict[str, Any]:
  """What the config.json of all families of this layout have in common.

  Args:
    fields: The config.json.
    rotary: Whether to take the rotary fields too.
    **default: Where the family differs: `rope_theta`, `rms_norm_eps`, `act`, `tied`,
      `head_dim`.

  Returns:
    Fields of a `TransformerConfig`.
  """
  width, count = fields.need('hidden_size'), fields.need('num_attention_heads')
  head_dim = fields.take('head_dim', default.get('head_dim', width // count))
  theta = default.get('rope_theta', 10_000.0)
  turns = rotary_fields(fields, head_dim, rope_theta=theta) if rotary else {}
  return {
    'vocab_size': fields.need('vocab_size'),
    'width': width,
    'layers': fields.need('num_hidden_layers'),
    'heads': count,
    'head_dim': head_dim,
    'kv_heads': fields.take('num_key_value_heads', count),
    'mlp_width': fields.need('intermediate_size'),
    'context': fields.need('max_position_embeddings'),
    'norm': 'rmsnorm',
    'norm_eps': fields.take('rms_norm_eps', default.get('rms_norm_eps', 1e-6)),
    'act': fields.activation('hidden_act', default.get('act', 'silu')),
    'gated': True,
    'qkv_bias': False,
    'attn_out_bias': False,
    'mlp_bias': False,
    'tied': fields.take('tie_word_embeddings', default.get('tied', False)),
    **turns,
  }


def windows(fields: Fields, default_kinds: list[str], window: int | None) -> Any:
  """Windows per layer, by `layer_types` where the file has it."""
  kinds = fields.take('layer_types', default_kinds)
  sizes = [window if kind == 'sliding_attention' else None for kind in kinds]
  return None if not any(sizes) else sizes


def attention_rows(cfg: TransformerConfig, plus: float = 0.0) -> list[Row]:
  """Attention of a layer: four projections and, in some families, norms."""
  attn = 'layers.{l}.self_attn'
  rows = [
    *heads(f'{attn}.q_proj', 'Q', cfg.qkv_bias),
    *heads(f'{attn}.k_proj', 'K', cfg.qkv_bias),
    *heads(f'{attn}.v_proj', 'V', cfg.qkv_bias),
    *heads_out(f'{attn}.o_proj', cfg.attn_out_bias),
  ]
  if cfg.qk_norm != 'none':
    axes = 'k -> k' if cfg.qk_norm == 'head' else '(h k) -> h k'
    rows += [
      Row(f'{attn}.{kind}_norm.weight', f'blocks/attn/{kind}_norm/w', axes, plus)
      for kind in 'qk'
    ]
  return rows


def mlp_rows(cfg: TransformerConfig) -> list[Row]:
  """The gated MLP of a layer."""
  mlp = 'layers.{l}.mlp'
  return [
    *linear(f'{mlp}.gate_proj', 'blocks/mlp/{}_gate', cfg.mlp_bias),
    *linear(f'{mlp}.up_proj', 'blocks/mlp/{}_in', cfg.mlp_bias),
    *linear(f'{mlp}.down_proj', 'blocks/mlp/{}_out', cfg.mlp_bias),
  ]


def outer_rows(cfg: TransformerConfig, plus: float = 0.0) -> list[Row]:
  """What stands before and after the layers."""
  return [
    Row('embed_tokens.weight', 'embed/W_E', 'v d -> v d'),
    *norm('norm', 'ln_final', False, plus),
    *unembed('lm_head', cfg),
  ]


def pre_norm_rows(plus: float = 0.0) -> list[Row]:
  """The two norms of a layer, each before what it is for."""
  return [
    *norm('layers.{l}.input_layernorm', 'blocks/ln1', False, plus),
    *norm('layers.{l}.post_attention_layernorm', 'blocks/ln2', False, plus),
  ]


def rows(cfg: TransformerConfig) -> list[Row]:
  """The tensors of Llama, Mistral and Qwen."""
  return [*outer_rows(cfg), *pre_norm_rows(), *attention_rows(cfg), *mlp_rows(cfg)]


def _llama(fields: Fields, names: Set[str]) -> dict[str, Any]:
  del names
  bias = fields.take('attention_bias', False)
  return {
    **decoder_fields(fields),
    'qkv_bias': bias,
    'attn_out_bias': bias,
    'mlp_bias': fields.take('mlp_bias', False),
  }


def _mistral(fields: Fields, names: Set[str]) -> dict[str, Any]:
  del names
  return {**decoder_fields(fields), 'windows': fields.take('sliding_window')}


LLAMA = Family('Llama 2, 3', ('llama',), _llama, rows, 'model.', UNUSED)
MISTRAL = Family('Mistral', ('mistral',), _mistral, rows, 'model.', UNUSED)
