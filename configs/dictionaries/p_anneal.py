"""A ReLU dictionary under a norm that goes from L1 towards L0 (Karvonen et al. 2024).

    python launch/train_dictionary.py --config=configs/dictionaries/p_anneal.py \
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
  start, end = only_in(arg, (4, 16), (400, 1400))
  lp = {'coefficient': 1.0, 'start': start, 'end': end, 'last': 0.2}
  config = common(arg, {'lp': lp | {'warmup': start}})
  return config
