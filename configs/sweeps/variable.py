"""Which parts of `stdlib-4l` recall a function's argument: `def convert(name): ...`.

    python launch/patch_sweep.py --config=configs/sweeps/variable.py --workdir=DIR

Corrupted activations are patched into clean runs (noising) of 32 pairs that differ in
one name: attention's and the MLP's output at every layer and position, and each head's
output and queries. Takes a minute on two CPU cores. `quick` takes 4 pairs and seconds,
most of them to compile.
"""

import ml_collections


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """The configuration.

  Args:
    arg: the variant: '' or 'quick'.

  Raises:
    ValueError: if there is no such variant.
  """
  if arg not in ('', 'quick'):
    raise ValueError(f"There is no variant {arg!r}. Valid: '', 'quick'.")
  config = ml_collections.ConfigDict()
  config.model = 'stdlib-4l'
  config.seed = 0

  config.pairs = ml_collections.ConfigDict()
  config.pairs.kind = 'variable'
  config.pairs.pairs = 32
  config.pairs.template = 'argument'  # A name in `tasks.pairs.TEMPLATES`, or source.

  config.direction = 'noising'
  config.source = 'pairs'
  config.metric = 'logit_difference'

  config.sweeps = ml_collections.ConfigDict()
  config.sweeps.positions = ('resid_pre', 'layer', 'position')
  config.sweeps.attention = ('attn_out', 'layer', 'position')
  config.sweeps.mlps = ('mlp_out', 'layer', 'position')
  config.sweeps.heads = ('z', 'layer', 'head')
  config.sweeps.queries = ('q', 'layer', 'head')

  config.mesh = ml_collections.ConfigDict()
  config.mesh.model = 1

  if arg == 'quick':
    config.pairs.pairs = 4
    config.sweeps = ml_collections.ConfigDict()
    config.sweeps.heads = ('z', 'layer', 'head')
  return config
