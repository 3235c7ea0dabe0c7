"""Phi-3 and OLMo 2."""

from tests.models.cases.case import now, rope, then
from tests.models.cases.llama import HUB_LLAMA, LLAMA3, LLAMA_SIZES
from tests.models.cases.qwen import QWEN2_SIZES

_PHI3 = {
  **{k: v for k, v in LLAMA_SIZES.items() if k != 'head_dim'},
  'hidden_size': 36,
  'pad_token_id': 0,
  'original_max_position_embeddings': 16,
}
_LONG = {'short_factor': [1.0, 1.1, 1.2], 'long_factor': [1.5, 2.0, 3.0]}
_HUB_PHI3 = {
  'architectures': ['Phi3ForCausalLM'],
  'attention_bias': False,
  'attention_dropout': 0.0,
  'auto_map': {'AutoConfig': 'configuration_phi3.Phi3Config'},
  'bos_token_id': 1,
  'embd_pdrop': 0.0,
  'eos_token_id': 2,
  'hidden_act': 'silu',
  'hidden_size': 24,
  'initializer_range': 0.02,
  'intermediate_size': 27,
  'max_position_embeddings': 64,
  'model_type': 'phi3',
  'num_attention_heads': 4,
  'num_hidden_layers': 3,
  'num_key_value_heads': 2,
  'original_max_position_embeddings': 8,
  'pad_token_id': 0,
  'resid_pdrop': 0.0,
  'rms_norm_eps': 1e-05,
  'rope_theta': 10000.0,
  'sliding_window': 9,
  'tie_word_embeddings': False,
  'torch_dtype': 'float32',
  'transformers_version': '4.40.2',
  'use_cache': True,
  'vocab_size': 61,
}
PHI3 = [
  *now(
    'phi3',
    _PHI3,
    plain={},
    window={'sliding_window': 5, 'num_key_value_heads': 6},
    partial={'tie_word_embeddings': True, **rope(partial_rotary_factor=0.75)},
    longrope_short=rope('longrope', **_LONG, original_max_position_embeddings=16),
    longrope_long={
      **rope('longrope', **_LONG, original_max_position_embeddings=8),
      'original_max_position_embeddings': 8,
    },
  ),
  then('phi3-then', {**_HUB_PHI3, 'rope_scaling': None}),
  then(
    'phi3-longrope-then',
    {**_HUB_PHI3, 'rope_scaling': {**_LONG, 'type': 'longrope'}},
  ),
]

OLMO2 = [
  *now(
    'olmo2',
    QWEN2_SIZES,
    plain={},
    biases={'attention_bias': True, 'tie_word_embeddings': True},
    no_groups={'num_key_value_heads': 6, **rope('llama3', 5e5, **LLAMA3)},
  ),
  then(
    'olmo2-then',
    {
      **{k: v for k, v in HUB_LLAMA.items() if k != 'pretraining_tp'},
      'architectures': ['Olmo2ForCausalLM'],
      'model_type': 'olmo2',
      'pad_token_id': 0,
      'rms_norm_eps': 1e-06,
      'rope_scaling': None,
      'rope_theta': 500000,
      'transformers_version': '4.47.0.dev0',
    },
  ),
]
