"""TransformerLens's own checkpoints: the toy models `attn-only`, `gelu` and `solu`.

Their config.json has TransformerLens's fields (`d_model`, `n_ctx`, ...) and no
`model_type`; their tensors have its names and its shapes, which are ours. The oldest
SoLU models, with `left-facing` weights, are not read.
"""

from collections.abc import Set
from typing import Any

from interp_jax.core import unknown
from interp_jax.models.config import TransformerConfig
from interp_jax.models.conversion import Row
from interp_jax.models.families.family import Family
from interp_jax.models.families.fields import Fields

_ACTIVATIONS = {
  'gelu': 'gelu',
  'gelu_new': 'gelu_tanh',
  'gelu_fast': 'gelu_tanh',
  'gelu_pytorch_tanh': 'gelu_tanh',
  'relu': 'relu',
  'silu': 'silu',
  'solu': 'solu',
  'solu_ln': 'solu_ln',
}
_NORMS = {
  'LN': 'layernorm',
  'LNPre': 'layernorm',
  'RMS': 'rmsnorm',
  'RMSPre': 'rmsnorm',
  None: 'none',
}
_POSITIONS = {'standard': 'learned', 'shortformer': 'shortformer', 'rotary': 'rotary'}


def _config(fields: Fields, names: Set[str]) -> dict[str, Any]:
  _refuse(fields)
  heads = fields.need('n_heads')
  norm = fields.take('normalization', fields.take('normalization_type'))
  act = fields.take('act_fn')
  attn_only = fields.take('attn_only', False)
  positions = _choice('positional_embedding_type', _positions(fields), _POSITIONS)
  layernorm = _choice('normalization_type', norm, _NORMS) == 'layernorm'
  config = {
    'vocab_size': fields.need('d_vocab'),
    'width': fields.need('d_model'),
    'layers': fields.need('n_layers'),
    'heads': heads,
    'head_dim': fields.need('d_head'),
    'kv_heads': fields.take('n_key_value_heads', heads),
    'mlp_width': 0 if attn_only else fields.need('d_mlp'),
    'context': fields.need('n_ctx'),
    'norm': _choice('normalization_type', norm, _NORMS),
    'norm_eps': fields.take('eps', 1e-5),
    'positions': positions,
    'rotary_dim': fields.take('rotary_dim', 0) if positions == 'rotary' else 0,
    'rotary_base': float(fields.take('rotary_base', 10_000)),
    'rotary_interleaved': fields.take('rotary_adjacent_pairs', False),
    'causal': fields.take('attention_dir', 'causal') == 'causal',
    'attn_scale': _scale(fields),
    'attn_only': attn_only,
    'parallel': fields.take('parallel_attn_mlp', False),
    'act': 'gelu' if attn_only else _choice('act_fn', act, _ACTIVATIONS),
    'unembed_bias': 'unembed.b_U' in names,
    'final_rms': fields.take('final_rms', False) and layernorm,
  }
  # What else a file has is of its training, and TransformerLens passes over it too.
  fields.ignore_rest()
  return config


def _choice(name: str, value: Any, known: dict[Any, str]) -> str:
  if value not in known:
    raise ValueError('config.json: ' + unknown(name, str(value), map(str, known)))
  return known[value]


def _positions(fields: Fields) -> str:
  short = fields.take('shortformer_pos', False)
  default = 'shortformer' if short else 'standard'
  return fields.take('positional_embedding_type', default)


def _scale(fields: Fields) -> float | None:
  """The scores are divided by TransformerLens's `attn_scale`."""
  divisor = fields.take('attn_scale', -1.0)
  if not fields.take('use_attn_scale', True):
    return 1.0
  return 1 / divisor if divisor > 0 else None


def _refuse(fields: Fields) -> None:
  """What changes the function and is not computed here."""
  off = {
    'architecture': 'neel',
    'attn_scores_soft_cap': -1.0,
    'clip_qkv': None,
    'num_experts': None,
    'output_logits_soft_cap': -1.0,
    'post_embedding_ln': False,
    'rotary_scaling_factor': 1.0,
    'scale_attn_by_inverse_layer_idx': False,
    'use_NTK_by_parts_rope': False,
    'use_attention_sinks': False,
    'use_dynamic_ntk_rope': False,
    'use_local_attn': False,
    'use_logn_attn': False,
    'use_normalization_before_and_after': False,
    'use_qk_norm': False,
    'use_yarn_rope': False,
  }
  for name, value in off.items():
    fields.require(name, value, default=value)
  why = "TransformerLens adds a gated MLP's b_in after the product."
  fields.require('gated_mlp', False, default=False, why=why)
  fields.require('attention_dir', 'causal', 'bidirectional', default='causal')
  vocabulary = fields.need('d_vocab')
  fields.require('d_vocab_out', -1, vocabulary, default=-1)


def _rows(cfg: TransformerConfig) -> list[Row]:
  layer = 'blocks.{l}'
  rows = [Row('embed.W_E', 'embed/W_E', 'v d -> v d')]
  if cfg.positions in ('learned', 'shortformer'):
    rows.append(Row('pos_embed.W_pos', 'pos_embed/W_pos', 't d -> t d'))
  grouped = '_' if cfg.kv_heads < cfg.heads else ''
  for kind, mark in (('Q', ''), ('K', grouped), ('V', grouped)):
    w, b = f'blocks/attn/W_{kind}', f'blocks/attn/b_{kind}'
    rows += [
      Row(f'{layer}.attn.{mark}W_{kind}', w, 'h d k -> h d k'),
      Row(f'{layer}.attn.{mark}b_{kind}', b, 'h k -> h k'),
    ]
  rows += [
    Row(f'{layer}.attn.W_O', 'blocks/attn/W_O', 'h k d -> h k d'),
    Row(f'{layer}.attn.b_O', 'blocks/attn/b_O', 'd -> d'),
    *_norm(cfg, f'{layer}.ln1', 'blocks/ln1'),
    *(_mlp_rows(cfg, layer) if not cfg.attn_only else []),
    *_norm(cfg, 'ln_final', 'ln_final', bias=not cfg.final_rms),
    Row('unembed.W_U', 'unembed/W_U', 'd v -> d v'),
  ]
  if cfg.unembed_bias:
    rows.append(Row('unembed.b_U', 'unembed/b_U', 'v -> v'))
  return rows


def _mlp_rows(cfg: TransformerConfig, layer: str) -> list[Row]:
  rows = [
    *_norm(cfg, f'{layer}.ln2', 'blocks/ln2'),
    Row(f'{layer}.mlp.W_in', 'blocks/mlp/W_in', 'd m -> d m'),
    Row(f'{layer}.mlp.b_in', 'blocks/mlp/b_in', 'm -> m'),
    Row(f'{layer}.mlp.W_out', 'blocks/mlp/W_out', 'm d -> m d'),
    Row(f'{layer}.mlp.b_out', 'blocks/mlp/b_out', 'd -> d'),
  ]
  if cfg.act == 'solu_ln':
    rows += [
      Row(f'{layer}.mlp.ln.w', 'blocks/mlp/ln/w', 'm -> m'),
      Row(f'{layer}.mlp.ln.b', 'blocks/mlp/ln/b', 'm -> m'),
    ]
  return rows


def _norm(
  cfg: TransformerConfig, source: str, target: str, bias: bool = True
) -> list[Row]:
  if cfg.norm == 'none':
    return []
  # `LNPre` and `RMSPre`: gains and biases are folded into what reads the norm.
  gain = Row(f'{source}.w', f'{target}/w', 'd -> d', default=1.0)
  if cfg.norm == 'rmsnorm' or not bias:
    return [gain]
  return [gain, Row(f'{source}.b', f'{target}/b', 'd -> d', default=0.0)]


TRANSFORMER_LENS = Family(
  'TransformerLens',
  (),
  _config,
  _rows,
  unused=(r'blocks\.\d+\.attn\.(mask|IGNORE|rotary_sin|rotary_cos)',),
)
