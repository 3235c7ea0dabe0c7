"""A ReLU dictionary with an L1 penalty (Bricken et al. 2023).

    python launch/train_dictionary.py --config=configs/dictionaries/relu.py \
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
  warmup = only_in(arg, 4, 200)
  config = common(arg, {'l1': {'coefficient': 1.0, 'warmup': warmup}})
  return config
