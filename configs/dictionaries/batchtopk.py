"""A BatchTopK dictionary, saved as a JumpReLU one (Bussmann et al. 2024).

    python launch/train_dictionary.py --config=configs/dictionaries/batchtopk.py \
        --store=DIR --workdir=DIR

About a minute or two on 2 CPU cores; it was run to the end only in its `quick` variant,
which takes seconds and scores nothing worth telling.
"""

import ml_collections

from configs.dictionaries.common import common, only_in


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """The configuration.

  Args:
    arg: the variant: '' or 'quick'.

  Raises:
    ValueError: if there is no such variant.
  """
  dead_after = only_in(arg, 500, 100_000)
  config = common(arg, {'auxk': {'dead_after': dead_after}})
  config.dictionary.activation = {'name': 'batchtopk', 'k': only_in(arg, 4, 32)}
  return config
