"""What the configurations of compilations share: models, and what is measured against.

The models are as their config.json says, but for what changes no number.
"""

import ml_collections

GEMMA_2_9B = {
  'model_type': 'gemma2',
  'attention_bias': False,
  'attn_logit_softcapping': 50.0,
  'final_logit_softcapping': 30.0,
  'head_dim': 256,
  'hidden_activation': 'gelu_pytorch_tanh',
  'hidden_size': 3584,
  'intermediate_size': 14336,
  'max_position_embeddings': 8192,
  'num_attention_heads': 16,
  'num_hidden_layers': 42,
  'num_key_value_heads': 8,
  'query_pre_attn_scalar': 256,
  'rms_norm_eps': 1e-6,
  'rope_theta': 10000.0,
  'sliding_window': 4096,
  'vocab_size': 256000,
}
GPT2 = {
  'model_type': 'gpt2',
  'activation_function': 'gelu_new',
  'layer_norm_epsilon': 1e-5,
  'n_ctx': 1024,
  'n_embd': 768,
  'n_head': 12,
  'n_layer': 12,
  'n_positions': 1024,
  'vocab_size': 50257,
}


def config(
  name: str, program: str, per_device: int, model: int
) -> ml_collections.ConfigDict:
  """What every configuration has.

  Args:
    name: of the program, for tables.
    program: what it is: 'dictionary', 'harvest', 'sweep' or 'language_model'.
    per_device: rows, sequences or worlds of a step, for each device.
    model: devices that share one copy of the weights.
  """
  config = ml_collections.ConfigDict()
  config.name = name
  config.program = program
  config.per_device = per_device
  config.mesh = ml_collections.ConfigDict({'model': model})
  return config


def check(arg: str, *variants: str) -> None:
  """Raises ValueError unless there is such a variant; '' is one of all."""
  if arg not in ('', *variants):
    raise ValueError(f'There is no variant {arg!r}. Valid: {("", *variants)}.')


def dictionary(
  name: str,
  width: int,
  features: int,
  wiring: dict,
  per_device: int,
  model: int,
) -> ml_collections.ConfigDict:
  """A TopK dictionary with the term for dead features, as README trains it.

  Args:
    name: of the program, for tables.
    width: of what it reads.
    features: how many it has; of each layer, where layers have their own.
    wiring: what it reads and writes.
    per_device: rows of a step, for each device.
    model: devices that share the features.
  """
  made = config(name, 'dictionary', per_device, model)
  made.dictionary = ml_collections.ConfigDict()
  made.dictionary.width = width
  made.dictionary.features = features
  made.dictionary.wiring = ml_collections.ConfigDict(wiring)
  made.dictionary.activation = ml_collections.ConfigDict({'name': 'topk', 'k': 64})
  made.trainer = ml_collections.ConfigDict()
  made.trainer.steps = 10_000
  made.trainer.microbatches = 1
  made.trainer.compute_dtype = 'bfloat16'
  made.trainer.terms = ml_collections.ConfigDict({'auxk': {}})
  return made
