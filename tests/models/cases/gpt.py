"""GPT-2, GPT-Neo, GPT-NeoX and OPT."""

from tests.models.cases.case import Case, buffers, now, rope, then

_SUMMARY = {
  'summary_activation': None,
  'summary_first_dropout': 0.1,
  'summary_proj_to_labels': True,
  'summary_type': 'cls_index',
  'summary_use_proj': True,
}

_GPT2 = {
  'vocab_size': 61,
  'n_embd': 20,
  'n_layer': 3,
  'n_head': 5,
  'n_positions': 31,
  'bos_token_id': 1,
  'eos_token_id': 2,
}
GPT2 = [
  *now(
    'gpt2',
    _GPT2,
    plain={},
    untied={'tie_word_embeddings': False, 'n_inner': 27},
    scale_by_layer={'scale_attn_by_inverse_layer_idx': True},
    unscaled={'scale_attn_weights': False, 'activation_function': 'relu'},
    upcast={'reorder_and_upcast_attn': True, 'activation_function': 'gelu'},
    quick={'activation_function': 'quick_gelu', 'layer_norm_epsilon': 0.01},
  ),
  Case(
    'gpt2-tied-by-name-only',
    {'model_type': 'gpt2', **_GPT2},
    extras={'lm_head.weight': ((61, 20), 'F32')},
  ),
  then(
    'gpt2-then',
    {
      'activation_function': 'gelu_new',
      'architectures': ['GPT2LMHeadModel'],
      'attn_pdrop': 0.1,
      'bos_token_id': 1,
      'embd_pdrop': 0.1,
      'eos_token_id': 2,
      'initializer_range': 0.02,
      'layer_norm_epsilon': 1e-05,
      'model_type': 'gpt2',
      'n_ctx': 31,
      'n_embd': 20,
      'n_head': 5,
      'n_layer': 3,
      'n_positions': 31,
      'resid_pdrop': 0.1,
      **_SUMMARY,
      'task_specific_params': {'text-generation': {'do_sample': True}},
      'vocab_size': 61,
    },
    {r'^transformer\.': ''},
    buffers(3, **{'h.{}.attn.bias': ((1, 1, 31, 31), 'F32')}),
  ),
]

_GPT_NEO = {
  'vocab_size': 61,
  'hidden_size': 20,
  'num_layers': 4,
  'num_heads': 5,
  'max_position_embeddings': 31,
  'bos_token_id': 1,
  'eos_token_id': 2,
  'attention_types': [[['global', 'local'], 2]],
  'window_size': 5,
}
GPT_NEO = [
  *now(
    'gpt_neo',
    _GPT_NEO,
    plain={},
    untied={'tie_word_embeddings': False, 'intermediate_size': 27},
    mixed={
      'attention_types': [[['global'], 1], [['local'], 3]],
      'activation_function': 'relu',
    },
  ),
  then(
    'gpt_neo-then',
    {
      'activation_function': 'gelu_new',
      'architectures': ['GPTNeoForCausalLM'],
      'attention_dropout': 0,
      'attention_layers': ['global', 'local', 'global', 'local'],
      'attention_types': [[['global', 'local'], 2]],
      'bos_token_id': 1,
      'embed_dropout': 0,
      'eos_token_id': 2,
      'gradient_checkpointing': False,
      'hidden_size': 20,
      'initializer_range': 0.02,
      'intermediate_size': None,
      'layer_norm_epsilon': 1e-05,
      'max_position_embeddings': 31,
      'model_type': 'gpt_neo',
      'num_heads': 5,
      'num_layers': 4,
      'resid_dropout': 0,
      **_SUMMARY,
      'task_specific_params': {'text-generation': {'max_length': 50}},
      'tokenizer_class': 'GPT2Tokenizer',
      'transformers_version': '4.9.0.dev0',
      'use_cache': True,
      'vocab_size': 61,
      'window_size': 5,
    },
    {},
    {
      'lm_head.weight': ((61, 20), 'F32', 'transformer.wte.weight'),
      **buffers(
        4,
        **{
          'transformer.h.{}.attn.attention.bias': ((1, 1, 31, 31), 'U8'),
          'transformer.h.{}.attn.attention.masked_bias': ((), 'F32'),
        },
      ),
    },
  ),
]

_GPT_NEOX = {
  'vocab_size': 61,
  'hidden_size': 36,
  'num_hidden_layers': 3,
  'num_attention_heads': 3,
  'intermediate_size': 27,
  'max_position_embeddings': 31,
  'bos_token_id': 1,
  'eos_token_id': 2,
}


GPT_NEOX = [
  *now(
    'gpt_neox',
    _GPT_NEOX,
    plain=rope(partial_rotary_factor=0.35),  # 4.2 entries, so 4.
    sequential={'use_parallel_residual': False, **rope(partial_rotary_factor=0.5)},
    no_bias={'attention_bias': False, **rope(partial_rotary_factor=1.0)},
    tied={
      'tie_word_embeddings': True,
      'hidden_act': 'gelu_new',
      **rope(partial_rotary_factor=0.5),
    },
    linear=rope('linear', factor=3.0, partial_rotary_factor=0.5),
    dynamic={
      'max_position_embeddings': 8,
      **rope('dynamic', factor=2.0, partial_rotary_factor=0.5),
    },
  ),
  then(
    'gpt_neox-then',
    {
      'architectures': ['GPTNeoXForCausalLM'],
      'bos_token_id': 0,
      'eos_token_id': 0,
      'hidden_act': 'gelu',
      'hidden_size': 32,
      'initializer_range': 0.02,
      'intermediate_size': 27,
      'layer_norm_eps': 1e-05,
      'max_position_embeddings': 31,
      'model_type': 'gpt_neox',
      'num_attention_heads': 4,
      'num_hidden_layers': 3,
      'rotary_emb_base': 1000,
      'rotary_pct': 0.25,
      'tie_word_embeddings': False,
      'torch_dtype': 'float32',
      'transformers_version': '4.24.0',
      'use_cache': True,
      'use_parallel_residual': True,
      'vocab_size': 61,
    },
    {},
    buffers(
      3,
      **{
        'gpt_neox.layers.{}.attention.bias': ((1, 1, 31, 31), 'BOOL'),
        'gpt_neox.layers.{}.attention.masked_bias': ((), 'F32'),
        'gpt_neox.layers.{}.attention.rotary_emb.inv_freq': ((1,), 'F32'),
      },
    ),
  ),
]

_OPT = {
  'vocab_size': 61,
  'hidden_size': 20,
  'num_hidden_layers': 3,
  'num_attention_heads': 5,
  'ffn_dim': 27,
  'max_position_embeddings': 31,
  'word_embed_proj_dim': 20,
  'bos_token_id': 2,
  'eos_token_id': 2,
}
OPT = [
  *now(
    'opt',
    _OPT,
    plain={},
    norms_after={'do_layer_norm_before': False},
    no_bias={'enable_bias': False, 'tie_word_embeddings': False},
    galactica={'activation_function': 'gelu'},
    no_final_norm={'_remove_final_layer_norm': True},
  ),
  then(
    'opt-then',
    {
      '_name_or_path': 'facebook/opt-125m',
      '_remove_final_layer_norm': False,
      'activation_dropout': 0.0,
      'activation_function': 'relu',
      'architectures': ['OPTForCausalLM'],
      'attention_dropout': 0.0,
      'bos_token_id': 2,
      'do_layer_norm_before': True,
      'dropout': 0.1,
      'eos_token_id': 2,
      'ffn_dim': 27,
      'hidden_size': 20,
      'init_std': 0.02,
      'layerdrop': 0.0,
      'max_position_embeddings': 31,
      'model_type': 'opt',
      'num_attention_heads': 5,
      'num_hidden_layers': 3,
      'pad_token_id': 1,
      'prefix': '</s>',
      'torch_dtype': 'float32',
      'transformers_version': '4.21.0.dev0',
      'use_cache': True,
      'vocab_size': 61,
      'word_embed_proj_dim': 20,
    },
    {r'^model\.decoder\.': 'decoder.'},
  ),
]
