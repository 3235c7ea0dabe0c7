"""The fields of a config.json, each of which somebody has to answer for."""

from collections.abc import Mapping
from typing import Any

from interp_jax import core

# What does not change the function from tokens to logits: training, generation, files
# and the defaults of other heads.
# fmt: off
_WITHOUT_EFFECT = frozenset({
  '_attn_implementation', '_commit_hash', '_name_or_path', 'activation_dropout',
  'add_cross_attention', 'architectures', 'attention_dropout',
  'attention_probs_dropout_prob', 'attn_pdrop', 'auto_map', 'bad_words_ids',
  'begin_suppress_tokens', 'bos_token_id', 'cache_implementation',
  'chunk_size_feed_forward', 'classifier_dropout', 'cross_attention_hidden_size',
  'decoder_start_token_id', 'diversity_penalty', 'do_sample', 'dtype',
  'early_stopping', 'embd_pdrop', 'embed_dropout', 'encoder_no_repeat_ngram_size',
  'eos_token_id', 'exponential_decay_length_penalty', 'finetuning_task',
  'forced_bos_token_id', 'forced_eos_token_id', 'gradient_checkpointing',
  'hidden_dropout', 'hidden_dropout_prob', 'id2label', 'init_std',
  'initializer_range', 'is_encoder_decoder', 'keys_to_ignore', 'label2id',
  'layerdrop', 'length_penalty', 'max_length', 'min_length', 'model_type',
  'no_repeat_ngram_size', 'num_beam_groups', 'num_beams', 'num_labels',
  'num_return_sequences', 'output_attentions', 'output_hidden_states', 'output_past',
  'output_router_logits', 'output_scores', 'pad_token_id', 'prefix', 'pretraining_tp',
  'problem_type', 'remove_invalid_values', 'repetition_penalty', 'resid_dropout',
  'resid_pdrop', 'return_dict', 'return_dict_in_generate', 'router_aux_loss_coef',
  'router_jitter_noise', 'sep_token_id', 'slow_but_exact', 'summary_activation',
  'summary_first_dropout', 'summary_proj_to_labels', 'summary_type',
  'summary_use_proj', 'suppress_tokens', 'task_specific_params', 'temperature',
  'tf_legacy_loss', 'tie_encoder_decoder', 'tokenizer_class', 'top_k', 'top_p',
  'torch_dtype', 'torchscript', 'transformers_version', 'typical_p', 'unk_token_id',
  'use_bfloat16', 'use_cache',
})
# fmt: on

ACTIVATIONS = {
  'gelu': 'gelu',
  'gelu_new': 'gelu_tanh',
  'gelu_fast': 'gelu_tanh',
  'gelu_pytorch_tanh': 'gelu_tanh',
  'quick_gelu': 'gelu_quick',
  'relu': 'relu',
  'relu2': 'relu2',
  'silu': 'silu',
  'swish': 'silu',
}


class Fields(core.Fields):
  """The fields of a model's config.json, but for those that change no logits."""

  def __init__(self, values: Mapping[str, Any]):
    """Of the parsed JSON."""
    kind = values.get('model_type', 'transformer')
    super().__init__(values, f'config.json of a {kind} model')
    self.ignore(*_WITHOUT_EFFECT)

  def activation(self, name: str, default: str | None = None) -> str:
    """The activation function that a field names, by our name of it."""
    return self.choose(name, ACTIVATIONS, default)
