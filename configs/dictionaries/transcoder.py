"""A transcoder: what an MLP writes from what it reads (Dunefsky et al. 2024).

    python launch/train_dictionary.py --config=configs/dictionaries/transcoder.py \
        --store=DIR --workdir=DIR

The store needs both; `configs/harvest/mlp.py` harvests them.

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
  config.inputs = ('ln2.normalized.1',)
  config.targets = ('mlp_out.1',)
  config.dictionary.wiring = {'name': 'transcoder', 'use_skip': False}
  config.dictionary.activation = {'name': 'topk', 'k': only_in(arg, 4, 32)}
  return config
