"""Patching Gemma 2 9B's residual stream at layers and positions: 1024 worlds at once.

    python launch/compile_tpu.py --config=configs/compile/sweep.py --topology=v5e:16x16

A pair of prompts of 128 tokens; all 42 layers are run. Two chips share the weights:
with eight, what they tell each other would take twice as long as their products. Takes
two minutes on two CPU cores.
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
  config = common.config('Gemma 2 9B sweep, layer × position', 'sweep', 4, model=2)
  config.model = ml_collections.ConfigDict(common.GEMMA_2_9B)
  config.options = ml_collections.ConfigDict()
  config.options.dtype = 'bfloat16'
  config.options.param_dtype = 'bfloat16'
  config.pairs = 1
  config.context = 128
  config.site = 'resid_pre'
  config.over = ('layer', 'position')
  return config
