"""A cross-layer transcoder in the place of all MLPs (Ameisen et al. 2025).

    python launch/train_dictionary.py --config=configs/dictionaries/cross_layer.py \
        --store=DIR --workdir=DIR

The store needs what they read and write; `configs/harvest/mlp.py` harvests both.

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
  config = common(arg, {'tanh': {'coefficient': 1.0, 'warmup': warmup}})
  config.inputs = tuple(f'ln2.normalized.{layer}' for layer in range(4))
  config.targets = tuple(f'mlp_out.{layer}' for layer in range(4))
  config.dictionary.wiring = {'name': 'cross_layer', 'layers': 4}
  config.dictionary.activation = {'name': 'jumprelu', 'to_input': True}
  return config
