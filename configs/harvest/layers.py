"""The residual stream behind every layer of `stdlib-4l`, for crosscoders.

    python launch/harvest.py --config=configs/harvest/layers.py --workdir=DIR

2 million rows of four arrays, 2 gigabytes. `quick` takes seconds, most of them to
compile.
"""

import ml_collections

from configs.harvest import resid_post


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """The configuration: that of `resid_post`, at other sites.

  Args:
    arg: the variant: '' or 'quick'.

  Raises:
    ValueError: if there is no such variant.
  """
  config = resid_post.get_config(arg)
  config.harvest.sites = ml_collections.ConfigDict({'resid_post': (0, 1, 2, 3)})
  return config
