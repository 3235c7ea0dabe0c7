"""A dictionary trained by what the model predicts with it (Braun et al. 2024).

    python launch/train_dictionary.py --config=configs/dictionaries/end_to_end.py \
        --store=DIR --workdir=DIR

It needs no store but tokens, which `launch/harvest.py` makes, and a model: give
`--tokens=DIR --model=stdlib-4l` in the place of `--store`.

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
  terms = {'end_to_end': {'coefficient': 20.0}, 'auxk': {'dead_after': dead_after}}
  config = common(arg, terms)
  config.place = ('resid_post', 1)  # Site and layer.
  config.dictionary.activation = {'name': 'topk', 'k': only_in(arg, 4, 32)}
  return config
