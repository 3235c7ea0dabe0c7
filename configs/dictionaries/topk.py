"""A TopK dictionary, eight times as wide as the activations (Gao et al. 2024).

    python launch/train_dictionary.py --config=configs/dictionaries/topk.py \
        --store=DIR --workdir=DIR

Takes 50 seconds on 2 CPU cores. On the quickstart's dataset (655,605 rows of the
residual stream behind layer 1 of `stdlib-4l`; 1,024 features): FVU 0.053 on held-out
files at L0 32, no dead features. `quick` takes seconds and scores nothing worth
telling.
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
  config.dictionary.activation = {'name': 'topk', 'k': only_in(arg, 4, 32)}
  return config
