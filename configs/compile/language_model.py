"""Training a language model of GPT-2's shape: 12 layers, sequences of 1024 tokens.

    python launch/compile_tpu.py --config=configs/compile/language_model.py

Takes a minute on two CPU cores.
"""

import ml_collections

from configs.compile import common


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """The configuration.

  Args:
    arg: the variant: ''.

  Raises:
    ValueError: if there is no such variant.
  """
  common.check(arg)
  config = common.config('GPT-2 training step', 'language_model', 8, model=1)
  config.model = ml_collections.ConfigDict(common.GPT2)
  config.options = ml_collections.ConfigDict({'dtype': 'bfloat16'})
  config.microbatches = 8
  config.optimizer = ml_collections.ConfigDict({'name': 'adamw'})
  return config
