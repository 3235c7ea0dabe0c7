"""Harvesting the 26th layer of Gemma 2 9B: bfloat16, sequences of 1024 tokens.

    python launch/compile_tpu.py --config=configs/compile/harvest.py --topology=v5e:4x4

Two chips share the first 26 layers: more would have more to tell each other, and one
has not the memory. Takes a minute on two CPU cores.
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
  config = common.config('Gemma 2 9B harvest, 26th layer', 'harvest', 4, model=2)
  config.model = ml_collections.ConfigDict(common.GEMMA_2_9B)
  config.options = ml_collections.ConfigDict()
  config.options.dtype = 'bfloat16'
  config.options.param_dtype = 'bfloat16'
  config.sites = ml_collections.ConfigDict({'resid_post': (25,)})
  config.context = 1024
  return config
