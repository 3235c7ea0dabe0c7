"""The fields of a config.json, each of which somebody has to answer for."""

from collections.abc import Iterable, Mapping
from typing import Any

from interp_jax.core import unknown

# What does not change the function from tokens to logits: training, generation, files
# and the defaults of other heads.
_WITHOUT_EFFECT = frozenset(
  {
    '_attn_implementation',
    '_commit_hash',
    '_name_or_path',
    'activation_dropout',
    'add_cross_attention',
    'architectures',
    'attention_dropout',
    'attention_probs_dropout_prob',
    'attn_pdrop',
    'auto_map',
    'bad_words_ids',
    'begin_suppress_tokens',
    'bos_token_id',
    'cache_implementation',
    'chunk_size_feed_forward',
    'classifier_dropout',
    'cross_attention_hidden_size',
    'decoder_start_token_id',
    'diversity_penalty',
    'do_sample',
    'dtype',
    'early_stopping',
    'embd_pdrop',
    'embed_dropout',
    'encoder_no_repeat_ngram_size',
    'eos_token_id',
    'exponential_decay_length_penalty',
    'finetuning_task',
    'forced_bos_token_id',
    'forced_eos_token_id',
    'gradient_checkpointing',
    'hidden_dropout',
    'hidden_dropout_prob',
    'id2label',
    'init_std',
    'initializer_range',
    'is_encoder_decoder',
    'keys_to_ignore',
    'label2id',
    'layerdrop',
    'length_penalty',
    'max_length',
    'min_length',
    'model_type',
    'no_repeat_ngram_size',
    'num_beam_groups',
    'num_beams',
    'num_labels',
    'num_return_sequences',
    'output_attentions',
    'output_hidden_states',
    'output_past',
    'output_router_logits',
    'output_scores',
    'pad_token_id',
    'prefix',
    'pretraining_tp',
    'problem_type',
    'remove_invalid_values',
    'repetition_penalty',
    'resid_dropout',
    'resid_pdrop',
    'return_dict',
    'return_dict_in_generate',
    'router_aux_loss_coef',
    'router_jitter_noise',
    'sep_token_id',
    'slow_but_exact',
    'summary_activation',
    'summary_first_dropout',
    'summary_proj_to_labels',
    'summary_type',
    'summary_use_proj',
    'suppress_tokens',
    'task_specific_params',
    'temperature',
    'tf_legacy_loss',
    'tie_encoder_decoder',
    'tokenizer_class',
    'top_k',
    'top_p',
    'torch_dtype',
    'torchscript',
    'transformers_version',
    'typical_p',
    'unk_token_id',
    'use_bfloat16',
    'use_cache',
  }
)

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


class Fields:
  """A config.json that notices what nobody has read.

  A family's page takes every field that it understands; `finish` raises about the
  others, because a field that is passed over in silence is a wrong number later.
  """

  def __init__(self, fields: Mapping[str, Any]):
    """Of the parsed JSON."""
    self._fields = dict(fields)
    self._open = set(fields) - _WITHOUT_EFFECT

  def take(self, name: str, default: Any = None) -> Any:
    """The value of a field; the default if it is not there, or null."""
    self._open.discard(name)
    value = self._fields.get(name)
    return default if value is None else value

  def need(self, name: str) -> Any:
    """The value of a field that must be there."""
    value = self.take(name)
    if value is None:
      raise ValueError(f'config.json lacks {name!r}, which {self._kind} models have.')
    return value

  def activation(self, name: str, default: str | None = None) -> str:
    """The activation function that a field names, by our name of it."""
    given = self.take(name, default)
    if given not in ACTIVATIONS:
      raise ValueError('config.json: ' + unknown(name, str(given), ACTIVATIONS))
    return ACTIVATIONS[given]

  def require(
    self, name: str, *allowed: Any, default: Any = None, why: str = ''
  ) -> None:
    """Refuses a model whose field has a value that nothing here computes."""
    value = self.take(name, default)
    if value not in allowed:
      raise ValueError(
        f'config.json: {name}={value!r} is not supported, only '
        f'{" or ".join(map(repr, allowed))}. {why}'.rstrip()
      )

  def ignore(self, *names: str) -> None:
    """Says of fields that they do not change the function of this family's models."""
    self._open.difference_update(names)

  def finish(self, also: Iterable[str] = ()) -> None:
    """Refuses fields that nobody has taken.

    Args:
      also: Names that the user vouches for.

    Raises:
      ValueError: if a field is left.
    """
    left = sorted(self._open - set(also))
    if left:
      shown = ', '.join(f'{name}={self._fields[name]!r}' for name in left)
      raise ValueError(
        f'config.json of a {self._kind} model has fields that are not known here: '
        f'{shown}. If you know that they change nothing, load it with '
        f'ignore_fields={left!r}.'
      )

  @property
  def _kind(self) -> str:
    return str(self._fields.get('model_type', 'transformer'))
