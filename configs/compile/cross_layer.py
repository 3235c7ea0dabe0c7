"""A cross-layer transcoder of GPT-2's 12 MLPs: D 768 to F 32,768 in each layer.

    python launch/compile_tpu.py --config=configs/compile/cross_layer.py

Takes some minutes on two CPU cores.
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
  name = 'TopK cross-layer transcoder, 12 × D 768, F 12 × 32,768'
  wiring = {'name': 'cross_layer', 'layers': 12}
  return common.dictionary(name, 768, 32_768, wiring, 512, model=16)
