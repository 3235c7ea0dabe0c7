"""A crosscoder over four layers of Gemma 2 9B: 4 × D 3584 to F 131,072.

    python launch/compile_tpu.py --config=configs/compile/crosscoder.py

Takes one to three minutes on two CPU cores.
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
  name = 'TopK crosscoder, 4 × D 3584, F 131,072'
  wiring = {'name': 'crosscoder', 'sources': 4}
  return common.dictionary(name, 3584, 131_072, wiring, 1024, model=16)
