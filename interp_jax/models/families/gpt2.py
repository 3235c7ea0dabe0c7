"""GPT-2 (Radford et al. 2019): learned positions, biases, weights as `x W`."""

from collections.abc import Set
from typing import Any

from interp_jax.models.config import TransformerConfig
from interp_jax.models.conversion import Row
from interp_jax.models.families.family import Family, fused_heads, norm
from interp_jax.models.families.fields import Fields


def _config(fields: Fields, names: Set[str]) -> dict[str, Any]:
  del names
  width, heads = fields.need('n_embd'), fields.need('n_head')
  layers = fields.need('n_layer')
  fields.ignore('n_ctx', 'reorder_and_upcast_attn')
  fields.require('add_cross_attention', False, default=False)
  scale = (width // heads) ** -0.5 if fields.take('scale_attn_weights', True) else 1.0
  by_layer = fields.take('scale_attn_by_inverse_layer_idx', False)
  return {
    'vocab_size': fields.need('vocab_size'),
    'width': width,
    'layers': layers,
    'heads': heads,
    'head_dim': width // heads,
    'mlp_width': fields.take('n_inner', 4 * width),
    'context': fields.need('n_positions'),
    'norm_eps': fields.take('layer_norm_epsilon', 1e-5),
    'act': fields.activation('activation_function', 'gelu_new'),
    'attn_scale': [scale / (i + 1) for i in range(layers)] if by_layer else scale,
    'tied': fields.take('tie_word_embeddings', True),
  }


def _rows(cfg: TransformerConfig) -> list[Row]:
  attn, mlp = 'h.{l}.attn', 'h.{l}.mlp'
  rows = [
    Row('wte.weight', 'embed/W_E', 'v d -> v d'),
    Row('wpe.weight', 'pos_embed/W_pos', 't d -> t d'),
    *norm('h.{l}.ln_1', 'blocks/ln1'),
    *fused_heads(f'{attn}.c_attn', 'd (n k) -> n d k', '(n k) -> n k'),
    Row(f'{attn}.c_proj.weight', 'blocks/attn/W_O', '(h k) d -> h k d'),
    Row(f'{attn}.c_proj.bias', 'blocks/attn/b_O', 'd -> d'),
    *norm('h.{l}.ln_2', 'blocks/ln2'),
    Row(f'{mlp}.c_fc.weight', 'blocks/mlp/W_in', 'd m -> d m'),
    Row(f'{mlp}.c_fc.bias', 'blocks/mlp/b_in', 'm -> m'),
    Row(f'{mlp}.c_proj.weight', 'blocks/mlp/W_out', 'm d -> m d'),
    Row(f'{mlp}.c_proj.bias', 'blocks/mlp/b_out', 'd -> d'),
    *norm('ln_f', 'ln_final'),
  ]
  if not cfg.tied:
    rows.append(Row('lm_head.weight', 'unembed/W_U', 'v d -> d v'))
  return rows


GPT2 = Family(
  'GPT-2',
  ('gpt2',),
  _config,
  _rows,
  prefix='transformer.',
  unused=(r'h\.\d+\.attn\.(masked_)?bias',),
)
