"""A TopK autoencoder of Gemma 2 9B's residual stream: D 3584 to F 131,072.

    python launch/compile_tpu.py --config=configs/compile/topk.py --topology=v5e:16x16

The variant `million` has F 1,048,576. A batch is 131,072 rows or more on a v5e-256, as
in Gao et al. 2024. Takes one to three minutes on two CPU cores.
"""

import ml_collections

from configs.compile import common


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """The configuration.

  Args:
    arg: the variant: '' or 'million'.

  Raises:
    ValueError: if there is no such variant.
  """
  common.check(arg, 'million')
  features = 1_048_576 if arg else 131_072
  name = f'TopK autoencoder, D 3584, F {features:,}'
  rows = 512 if arg else 2048
  wiring = {'name': 'autoencoder'}
  return common.dictionary(name, 3584, features, wiring, rows, model=16)
