"""What every MLP of `stdlib-4l` reads and writes, for transcoders.

    python launch/harvest.py --config=configs/harvest/mlp.py --workdir=DIR

2 million rows of eight arrays, 4 gigabytes. Transcoders of one layer need only two of
them. `quick` takes seconds, most of them to compile.
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
  sites = {'ln2.normalized': (0, 1, 2, 3), 'mlp_out': (0, 1, 2, 3)}
  dotted = ml_collections.ConfigDict(sites, allow_dotted_keys=True)
  config.harvest.sites = dotted
  return config
