"""Qwen 2, 3 and 3 MoE."""

from tests.models.cases.case import now, rope, then
from tests.models.cases.llama import LLAMA_SIZES, YARN

QWEN2_SIZES = {
  **{k: v for k, v in LLAMA_SIZES.items() if k != 'head_dim'},
  'hidden_size': 36,
  'num_hidden_layers': 4,
}
_HUB_QWEN = {
  'attention_dropout': 0.0,
  'bos_token_id': 1,
  'eos_token_id': 2,
  'hidden_act': 'silu',
  'hidden_size': 24,
  'initializer_range': 0.02,
  'intermediate_size': 27,
  'max_position_embeddings': 64,
  'max_window_layers': 2,
  'num_attention_heads': 4,
  'num_hidden_layers': 3,
  'num_key_value_heads': 2,
  'rms_norm_eps': 1e-06,
  'rope_theta': 1000000.0,
  'sliding_window': 5,
  'torch_dtype': 'float32',
  'use_cache': True,
  'use_sliding_window': False,
  'vocab_size': 61,
}
_QWEN_WINDOWS = {
  'use_sliding_window': True,
  'sliding_window': 5,
  'max_window_layers': 2,
}
QWEN2 = [
  *now(
    'qwen2',
    QWEN2_SIZES,
    plain={},
    windows={**_QWEN_WINDOWS, 'tie_word_embeddings': True},
    layer_types={
      **_QWEN_WINDOWS,
      'layer_types': ['sliding_attention', 'full_attention'] * 2,
    },
    yarn=rope('yarn', 1e6, **YARN),
  ),
  then(
    'qwen2-then',
    {
      **_HUB_QWEN,
      'architectures': ['Qwen2ForCausalLM'],
      'model_type': 'qwen2',
      'tie_word_embeddings': True,
      'transformers_version': '4.40.1',
    },
  ),
]
_QWEN3 = {**LLAMA_SIZES, 'num_hidden_layers': 4, 'head_dim': 10}
QWEN3 = [
  *now(
    'qwen3',
    _QWEN3,
    plain={},
    windows={**_QWEN_WINDOWS, 'tie_word_embeddings': True},
    biases={'attention_bias': True, 'num_key_value_heads': 6},
    yarn=rope('yarn', 1e6, **YARN),
  ),
  then(
    'qwen3-then',
    {
      **_HUB_QWEN,
      'architectures': ['Qwen3ForCausalLM'],
      'attention_bias': False,
      'head_dim': 10,
      'max_window_layers': 3,
      'model_type': 'qwen3',
      'rope_scaling': None,
      'sliding_window': None,
      'tie_word_embeddings': True,
      'transformers_version': '4.51.0',
    },
  ),
]
QWEN3_MOE = [
  *now(
    'qwen3_moe',
    {**_QWEN3, 'num_hidden_layers': 3, 'num_experts': 5, 'moe_intermediate_size': 11},
    plain={'norm_topk_prob': True, 'num_experts_per_tok': 3},
    not_normed={'norm_topk_prob': False, 'num_experts_per_tok': 2},
    biases={'attention_bias': True, 'num_experts_per_tok': 5},
    windows={
      'num_experts_per_tok': 2,
      'use_sliding_window': True,
      'sliding_window': 5,
      'tie_word_embeddings': True,
    },
  ),
  then(
    'qwen3_moe-then',
    {
      **_HUB_QWEN,
      'architectures': ['Qwen3MoeForCausalLM'],
      'attention_bias': False,
      'decoder_sparse_step': 1,
      'head_dim': 10,
      'max_window_layers': 3,
      'mlp_only_layers': [],
      'model_type': 'qwen3_moe',
      'moe_intermediate_size': 11,
      'norm_topk_prob': True,
      'num_experts': 5,
      'num_experts_per_tok': 2,
      'output_router_logits': False,
      'rope_scaling': None,
      'router_aux_loss_coef': 0.001,
      'sliding_window': None,
      'tie_word_embeddings': False,
      'transformers_version': '4.51.0',
    },
  ),
]
