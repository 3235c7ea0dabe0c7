"""A JumpReLU dictionary trained to a number of active features (2407.14435).

    python launch/train_dictionary.py --config=configs/dictionaries/jumprelu.py \
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
  l0 = {'coefficient': 1.0, 'target': 32.0, 'shape': 'quadratic', 'warmup': warmup}
  config = common(arg, {'l0': l0, 'pre_activation': {}})
  config.dictionary.activation = {'name': 'jumprelu', 'bandwidth': 0.05}
  return config
