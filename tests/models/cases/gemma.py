"""Gemma 1, 2 and 3, also with eyes."""

from tests.models.cases.case import now, rope, then
from tests.models.cases.llama import LLAMA_SIZES

_GEMMA = {**LLAMA_SIZES, 'num_hidden_layers': 3, 'head_dim': 10}
_HUB_GEMMA = {
  'attention_bias': False,
  'attention_dropout': 0.0,
  'bos_token_id': 2,
  'eos_token_id': 1,
  'head_dim': 10,
  'hidden_size': 30,
  'initializer_range': 0.02,
  'intermediate_size': 27,
  'max_position_embeddings': 64,
  'num_attention_heads': 6,
  'num_hidden_layers': 3,
  'num_key_value_heads': 2,
  'pad_token_id': 0,
  'rms_norm_eps': 1e-06,
  'rope_theta': 10000.0,
  'torch_dtype': 'float32',
  'use_cache': True,
  'vocab_size': 61,
}
GEMMA = [
  *now(
    'gemma',
    _GEMMA,
    plain={'num_key_value_heads': 1},
    untied={'tie_word_embeddings': False, 'attention_bias': True},
    linear=rope('linear', factor=2.0),
    relu={'hidden_act': 'relu'},
  ),
  then(
    'gemma-then',
    {
      **_HUB_GEMMA,
      'architectures': ['GemmaForCausalLM'],
      'hidden_act': 'gelu',
      'hidden_activation': None,
      'model_type': 'gemma',
      'rope_scaling': None,
      'transformers_version': '4.38.0.dev0',
    },
  ),
]
_GEMMA2 = {
  **_GEMMA,
  'num_hidden_layers': 4,
  'sliding_window': 5,
  'query_pre_attn_scalar': 23,
}
GEMMA2 = [
  *now(
    'gemma2',
    _GEMMA2,
    plain={'attn_logit_softcapping': 2.0, 'final_logit_softcapping': 3.0},
    no_caps={
      'attn_logit_softcapping': None,
      'final_logit_softcapping': None,
      'attention_bias': True,
    },
    layer_types={
      'layer_types': ['full_attention', *['sliding_attention'] * 3],
      'tie_word_embeddings': False,
    },
  ),
  then(
    'gemma2-then',
    {
      **_HUB_GEMMA,
      'architectures': ['Gemma2ForCausalLM'],
      'attn_logit_softcapping': 50.0,
      'cache_implementation': 'hybrid',
      'final_logit_softcapping': 30.0,
      'hidden_act': 'gelu_pytorch_tanh',
      'hidden_activation': 'gelu_pytorch_tanh',
      'model_type': 'gemma2',
      'query_pre_attn_scalar': 23,
      'sliding_window': 5,
      'transformers_version': '4.42.4',
    },
  ),
]
_GEMMA3 = {**_GEMMA2, 'num_hidden_layers': 7}
_BY_KIND = {
  'rope_parameters': {
    'full_attention': {'rope_type': 'linear', 'rope_theta': 1e6, 'factor': 8.0},
    'sliding_attention': {'rope_type': 'default', 'rope_theta': 1e4},
  }
}
_HUB_GEMMA3 = {
  **{k: v for k, v in _HUB_GEMMA.items() if k not in ('torch_dtype', 'rope_theta')},
  'attn_logit_softcapping': None,
  'cache_implementation': 'hybrid',
  'final_logit_softcapping': None,
  'hidden_activation': 'gelu_pytorch_tanh',
  'model_type': 'gemma3_text',
  'num_hidden_layers': 7,
  'query_pre_attn_scalar': 23,
  'rope_local_base_freq': 10000,
  'rope_scaling': None,
  'rope_theta': 1000000,
  'sliding_window': 5,
  'sliding_window_pattern': 6,
}
_VISION = {
  'hidden_size': 12,
  'image_size': 8,
  'intermediate_size': 8,
  'model_type': 'siglip_vision_model',
  'num_attention_heads': 2,
  'num_hidden_layers': 1,
  'patch_size': 4,
}
_SEES = {
  'model_type': 'gemma3',
  'architectures': ['Gemma3ForConditionalGeneration'],
  'boi_token_index': 57,
  'eoi_token_index': 58,
  'image_token_index': 59,
  'mm_tokens_per_image': 4,
  'vision_config': _VISION,
}
GEMMA3 = [
  *now(
    'gemma3_text',
    _GEMMA3,
    plain={},
    scaled=_BY_KIND,
    capped={
      'final_logit_softcapping': 3.0,
      'num_hidden_layers': 3,
      'layer_types': ['sliding_attention', 'full_attention', 'sliding_attention'],
    },
    untied={
      'tie_word_embeddings': False,
      'attention_bias': True,
      'num_hidden_layers': 3,
    },
  ),
  then(
    'gemma3_text-then',
    {
      **_HUB_GEMMA3,
      'architectures': ['Gemma3ForCausalLM'],
      'torch_dtype': 'float32',
      'transformers_version': '4.50.0.dev0',
    },
  ),
  then(
    'gemma3-then',
    {
      **_SEES,
      'eos_token_id': [1, 58],
      'initializer_range': 0.02,
      'text_config': {
        **_HUB_GEMMA3,
        'rope_scaling': {'factor': 8.0, 'rope_type': 'linear'},
      },
      'torch_dtype': 'float32',
      'transformers_version': '4.50.0.dev0',
    },
    {
      r'^model\.language_model\.': 'language_model.model.',
      r'^model\.': '',
    },
  ),
  *now(
    'gemma3',
    _SEES,
    sees={
      'text_config': {**_GEMMA3, 'model_type': 'gemma3_text'},
      'architecture': 'Gemma3ForConditionalGeneration',
    },
  ),
]
