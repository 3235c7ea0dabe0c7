"""Falcon and BLOOM."""

from tests.models.cases.case import now, rope, then

_FALCON = {
  'vocab_size': 61,
  'hidden_size': 36,
  'num_hidden_layers': 3,
  'num_attention_heads': 6,
  'bos_token_id': 1,
  'eos_token_id': 2,
}
_HUB_FALCON = {
  'alibi': False,
  'apply_residual_connection_post_layernorm': False,
  'architectures': ['FalconForCausalLM'],
  'attention_dropout': 0.0,
  'auto_map': {'AutoConfig': 'configuration_falcon.FalconConfig'},
  'bias': False,
  'bos_token_id': 1,
  'eos_token_id': 2,
  'hidden_dropout': 0.0,
  'hidden_size': 36,
  'initializer_range': 0.02,
  'layer_norm_epsilon': 1e-05,
  'model_type': 'falcon',
  'multi_query': True,
  'new_decoder_architecture': False,
  'num_attention_heads': 6,
  'num_hidden_layers': 3,
  'parallel_attn': True,
  'torch_dtype': 'float32',
  'transformers_version': '4.27.4',
  'use_cache': True,
  'vocab_size': 61,
}
FALCON = [
  *now(
    'falcon',
    _FALCON,
    shared_norm={},
    grouped={'new_decoder_architecture': True, 'num_kv_heads': 2},
    grouped_one_norm={
      'new_decoder_architecture': True,
      'num_kv_heads': 3,
      'num_ln_in_parallel_attn': 1,
    },
    sequential={'multi_query': False, 'parallel_attn': False, 'bias': True},
    sequential_single={'parallel_attn': False, 'ffn_hidden_size': 27},
    biases={'bias': True, 'tie_word_embeddings': False, 'activation': 'gelu_new'},
    linear=rope('linear', factor=3.0),
  ),
  then(
    'falcon-then',
    _HUB_FALCON,
    {},
    {'lm_head.weight': ((61, 36), 'F32', 'transformer.word_embeddings.weight')},
  ),
  then(
    'falcon-grouped-then',
    {**_HUB_FALCON, 'new_decoder_architecture': True, 'num_kv_heads': 2},
  ),
]

_BLOOM = {'vocab_size': 61, 'hidden_size': 36, 'n_layer': 3, 'n_head': 6}
BLOOM = [
  *now(
    'bloom',
    _BLOOM,
    plain={},
    power_of_two={'n_head': 4, 'tie_word_embeddings': False},
    odd={'hidden_size': 15, 'n_head': 3, 'layer_norm_epsilon': 0.01},
  ),
  then(
    'bloom-then',
    {
      'apply_residual_connection_post_layernorm': False,
      'architectures': ['BloomForCausalLM'],
      'attention_dropout': 0.0,
      'attention_softmax_in_fp32': True,
      'bias_dropout_fusion': True,
      'bos_token_id': 1,
      'eos_token_id': 2,
      'hidden_dropout': 0.0,
      'initializer_range': 0.02,
      'layer_norm_epsilon': 1e-05,
      'masked_softmax_fusion': True,
      'model_type': 'bloom',
      'n_embed': 36,
      'n_inner': None,
      'n_layer': 3,
      'num_attention_heads': 6,
      'offset_alibi': 100,
      'pad_token_id': 3,
      'pretraining_tp': 1,
      'skip_bias_add': True,
      'skip_bias_add_qkv': False,
      'slow_but_exact': False,
      'transformers_version': '4.20.0',
      'unk_token_id': 0,
      'use_cache': True,
      'vocab_size': 61,
    },
    {r'^transformer\.': ''},
  ),
]
