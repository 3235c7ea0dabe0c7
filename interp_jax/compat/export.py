"""A model of ours as one of TransformerLens's: its config and its state dict.

Both are plain data (numpy), so that TransformerLens need not be installed.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from interp_jax.models import TransformerConfig

_ACTIVATIONS = {
  'relu': 'relu',
  'relu2': 'relu2',
  'gelu': 'gelu',
  'gelu_tanh': 'gelu_pytorch_tanh',
  'silu': 'silu',
  'solu': 'solu',
  'solu_ln': 'solu_ln',
}
_NORMS = {'layernorm': 'LN', 'rmsnorm': 'RMS', 'none': None}
_ARCHITECTURES = {'post': 'Olmo2ForCausalLM', 'pre': 'OlmoeForCausalLM'}


def is_encoder(cfg: TransformerConfig) -> bool:
  """Whether TransformerLens's class for the model is HookedEncoder (BERT)."""
  return cfg.norm_placement == 'residual'


def config_fields(cfg: TransformerConfig) -> dict[str, Any]:
  """The fields of a HookedTransformerConfig, but for dtype and device.

  Args:
    cfg: The config.

  Returns:
    Field → value.

  Raises:
    ValueError: if TransformerLens cannot compute such a model.
  """
  _check(cfg)
  learned = {'learned': 'standard'}
  return {
    'd_model': cfg.width,
    'd_head': cfg.head_dim,
    'n_layers': cfg.layers,
    'n_ctx': cfg.context,
    'n_heads': cfg.heads,
    'd_mlp': cfg.mlp_width or None,
    'd_vocab': cfg.vocab_size,
    'n_key_value_heads': cfg.kv_heads if cfg.kv_heads < cfg.heads else None,
    'attn_only': cfg.attn_only,
    'gated_mlp': cfg.gated,
    'act_fn': _ACTIVATIONS.get(cfg.act),
    'eps': cfg.norm_eps,
    'normalization_type': _NORMS[cfg.norm],
    'final_rms': cfg.final_rms,
    'attention_dir': 'causal' if cfg.causal else 'bidirectional',
    'parallel_attn_mlp': cfg.parallel,
    'use_normalization_before_and_after': cfg.norm_placement == 'sandwich',
    'post_embedding_ln': cfg.embed_norm and not is_encoder(cfg),
    'positional_embedding_type': learned.get(cfg.positions, cfg.positions),
    'attn_scores_soft_cap': cfg.attn_softcap or -1.0,
    'output_logits_soft_cap': cfg.logit_softcap or -1.0,
    'use_qk_norm': cfg.qk_norm == 'head',
    # TransformerLens norms all heads as one vector by the name of the architecture.
    'original_architecture': _ARCHITECTURES[cfg.norm_placement]
    if cfg.qk_norm == 'width'
    else None,
    'num_experts': cfg.experts or None,
    'experts_per_token': cfg.experts_per_token or None,
    'norm_topk_prob': cfg.renormalize_experts,
    **_windows(cfg),
    **(_rotary(cfg) if cfg.positions == 'rotary' else {}),
  }


def processing_steps(cfg: TransformerConfig) -> dict[str, bool]:
  """The steps of `process` that TransformerLens's `from_pretrained` takes by default.

  Args:
    cfg: The model's config.

  Returns:
    Keyword arguments for `interp_jax.models.process`.
  """
  encoder = is_encoder(cfg)
  whole = not encoder and cfg.positions != 'shortformer'
  return {
    'fold_ln': whole and cfg.norm_placement != 'post' and cfg.norm != 'none',
    'center_writing_weights': whole and cfg.norm == 'layernorm' and not cfg.final_rms,
    'center_unembed': whole and cfg.logit_softcap is None,
    'fold_value_biases': not encoder,
  }


def state_dict(
  cfg: TransformerConfig, params: Mapping[str, Any]
) -> dict[str, np.ndarray]:
  """The parameters by TransformerLens's names, in its shapes.

  Biases that the model has not are zeros, and tied weights are there twice.

  Args:
    cfg: The config.
    params: The parameters.

  Returns:
    Name → array.

  Raises:
    ValueError: if TransformerLens cannot compute such a model.
  """
  _check(cfg)
  state: dict[str, np.ndarray] = {}

  def put(name: str, value: Any) -> None:
    state[name] = np.asarray(value)

  _put_ends(put, cfg, params)
  for layer in range(cfg.layers):
    own = {part: _at(leaves, layer) for part, leaves in params['blocks'].items()}
    _put_layer(lambda n, v, at=layer: put(f'blocks.{at}.{n}', v), cfg, own)
  return state


_Put = Callable[..., None]


def _at(leaves: Any, layer: int) -> Any:
  if isinstance(leaves, Mapping):
    return {name: _at(leaf, layer) for name, leaf in leaves.items()}
  return np.asarray(leaves[layer])


def _put_ends(put: _Put, cfg: TransformerConfig, params: Mapping[str, Any]) -> None:
  prefix = 'embed.' if is_encoder(cfg) else ''
  table = np.asarray(params['embed']['W_E'])
  put(f'{prefix}embed.W_E', table * np.asarray(cfg.embed_scale, table.dtype))
  if 'pos_embed' in params:
    put(f'{prefix}pos_embed.W_pos', params['pos_embed']['W_pos'])
  if cfg.token_types:
    put('embed.token_type_embed.W_token_type', params['token_type_embed']['W_type'])
  if cfg.embed_norm:
    _put_norm(put, 'embed.ln', params['ln_embed'])
  unembed = params.get('unembed', {})
  put('unembed.W_U', table.T if cfg.tied else unembed['W_U'])
  put('unembed.b_U', unembed.get('b_U', np.zeros(cfg.vocab_size, table.dtype)))
  if cfg.head == 'mlm':
    put('mlm_head.W', params['mlm_dense']['W'])
    put('mlm_head.b', params['mlm_dense']['b'])
  if cfg.norm != 'none':
    name = 'mlm_head.ln' if cfg.head == 'mlm' else 'ln_final'
    _put_norm(put, name, params['ln_final'])


def _put_norm(put: _Put, name: str, norm: Mapping[str, Any]) -> None:
  for key, value in norm.items():
    put(f'{name}.{key}', value)


def _put_layer(put: _Put, cfg: TransformerConfig, own: Mapping[str, Any]) -> None:
  after = cfg.norm_placement == 'post'
  for norm in ('ln1', 'ln2', 'ln1_post', 'ln2_post'):
    if norm in own:
      _put_norm(put, norm[:3] if after else norm, own[norm])
  if cfg.shared_norm:
    _put_norm(put, 'ln2', own['ln1'])
  attn = own['attn']
  for kind in 'QKV':
    mark = '_' if kind != 'Q' and cfg.kv_heads < cfg.heads else ''
    weight = attn[f'W_{kind}']
    bias = np.zeros((weight.shape[0], weight.shape[2]), weight.dtype)
    put(f'attn.{mark}W_{kind}', weight)
    put(f'attn.{mark}b_{kind}', attn.get(f'b_{kind}', bias))
  put('attn.W_O', attn['W_O'])
  put('attn.b_O', attn.get('b_O', np.zeros(cfg.width, attn['W_O'].dtype)))
  if cfg.qk_norm != 'none':
    for kind in ('q_norm', 'k_norm'):
      put(f'attn.{kind}.w', attn[kind]['w'].reshape(-1))
  if cfg.experts:
    _put_experts(put, cfg, own['experts'])
  elif not cfg.attn_only:
    _put_mlp(put, cfg, own['mlp'])


def _put_mlp(put: _Put, cfg: TransformerConfig, mlp: Mapping[str, Any]) -> None:
  dtype = mlp['W_in'].dtype
  put('mlp.W_in', mlp['W_in'])
  put('mlp.W_out', mlp['W_out'])
  if cfg.gated:
    put('mlp.W_gate', mlp['W_gate'])
  # TransformerLens adds a gated MLP's `b_in` after the product: it is zero here.
  put('mlp.b_in', mlp.get('b_in', np.zeros(cfg.mlp_width, dtype)))
  put('mlp.b_out', mlp.get('b_out', np.zeros(cfg.width, dtype)))
  if cfg.act == 'solu_ln':
    _put_norm(put, 'mlp.ln', mlp['ln'])


def _put_experts(put: _Put, cfg: TransformerConfig, own: Mapping[str, Any]) -> None:
  put('mlp.W_gate.weight', own['W_router'].T)
  for expert in range(cfg.experts):
    for name in ('W_in', 'W_gate', 'W_out'):
      put(f'mlp.experts.{expert}.{name}.weight', own[name][expert].T)


def _windows(cfg: TransformerConfig) -> dict[str, Any]:
  windows = _per_layer(cfg, cfg.windows)
  sizes = {window for window in windows if window}
  if len(sizes) > 1:
    raise ValueError(f'TransformerLens has one size of window; this has {sizes}.')
  if not sizes:
    return {}
  types = ['local' if window else 'global' for window in windows]
  return {'use_local_attn': True, 'attn_types': types, 'window_size': sizes.pop()}


def _rotary(cfg: TransformerConfig) -> dict[str, Any]:
  windows = _per_layer(cfg, cfg.windows)
  rows = list(
    zip(
      windows,
      _per_layer(cfg, cfg.rotary_base),
      _per_layer(cfg, cfg.rotary_scaling),
      strict=True,
    )
  )
  local = {row[1:] for row in rows if row[0]}
  every = {row[1:] for row in rows if not row[0]} or local
  if len(local) > 1 or len(every) > 1:
    raise ValueError('TransformerLens has one rotary base for all layers of a kind.')
  [(base, scaling)] = every
  [(local_base, local_scaling)] = local or every
  kind = scaling.kind if scaling else None
  fields = {
    'rotary_dim': cfg.rotary_dim,
    'rotary_base': base,
    'rotary_base_local': local_base if local_base != base else None,
    'rotary_adjacent_pairs': cfg.rotary_interleaved,
  }
  if kind == 'llama3' and scaling == local_scaling:
    return fields | {
      'use_NTK_by_parts_rope': True,
      'NTK_by_parts_low_freq_factor': scaling.low_freq_factor,
      'NTK_by_parts_high_freq_factor': scaling.high_freq_factor,
      'NTK_by_parts_factor': scaling.factor,
      'NTK_original_ctx_len': scaling.original_context,
    }
  if kind == 'yarn' and scaling == local_scaling:
    return fields | {
      'use_yarn_rope': True,
      'yarn_factor': scaling.factor,
      'yarn_attention_factor': scaling.attention_factor,
      'yarn_beta_fast': scaling.beta_fast,
      'yarn_beta_slow': scaling.beta_slow,
      'yarn_original_max_position_embeddings': scaling.original_context,
      'yarn_truncate': scaling.truncate,
    }
  if kind == 'linear' and (local_scaling is None or not local):
    return fields | {'rotary_scaling_factor': scaling.factor}
  if scaling or local_scaling:
    raise ValueError(f'TransformerLens does not compute rotary scaling {kind!r}.')
  return fields


def _per_layer(cfg: TransformerConfig, value: Any) -> tuple:
  return value if isinstance(value, tuple) else (value,) * cfg.layers


def _check(cfg: TransformerConfig) -> None:
  """Refuses what TransformerLens's classes do not compute."""
  post, encoder = cfg.norm_placement == 'post', is_encoder(cfg)
  problems = {
    f'act={cfg.act!r}': not cfg.attn_only and cfg.act not in _ACTIVATIONS,
    'biases of a gated MLP': cfg.gated and cfg.mlp_bias and not cfg.attn_only,
    "head='none'": cfg.head == 'none',
    'a head of its own with norms before the layers': cfg.head == 'mlm' and not encoder,
    'an encoder that is not BERT': encoder
    and (cfg.head != 'mlm' or not cfg.embed_norm or cfg.token_types != 2),
    'token types in a decoder': cfg.token_types > 0 and not encoder,
    'no final norm': not cfg.final_norm and cfg.norm != 'none',
    'norms after the layers without a norm of queries and keys': post
    and cfg.qk_norm != 'width',
    'a norm of all queries as one vector in such layers': cfg.qk_norm == 'width'
    and cfg.norm_placement not in _ARCHITECTURES,
    'LayerNorms before and after the layers': cfg.norm_placement == 'sandwich'
    and cfg.norm == 'layernorm',
    'solu_ln without LayerNorms': cfg.act == 'solu_ln' and cfg.norm != 'layernorm',
    'a normed embedding that is not followed by LayerNorms': cfg.embed_norm
    and cfg.norm != 'layernorm',
  }
  found = [what for what, there in problems.items() if there]
  if found:
    raise ValueError(f'TransformerLens does not compute: {"; ".join(found)}.')
