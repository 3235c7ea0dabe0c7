"""Heads and the residual stream of `stdlib-4l` in one pass, a file at a time.

    python launch/harvest.py --config=configs/harvest/heads.py --workdir=DIR

The outputs of two heads of layer 2 as one vector, next to the residual stream before
and behind the layer, each file of the standard library cut into sequences of its own.
Half a million tokens, padding counted, at some 15,000 rows a second on one CPU core.
`quick` takes seconds, most of them to compile.
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
  config.description = 'Files of the Python standard library, each by itself.'

  config.source = ml_collections.ConfigDict()
  config.source.kind = 'text'
  config.source.path = ''
  config.source.pattern = '*.py'
  config.source.errors = 'replace'

  config.tokens = ml_collections.ConfigDict()
  config.tokens.context = 128
  config.tokens.packed = False
  config.tokens.bos = 'sequence'
  config.tokens.max_tokens = 500_000

  config.harvest = ml_collections.ConfigDict()
  config.harvest.sites = ml_collections.ConfigDict(
    {'z': (2,), 'resid_pre': (2,), 'resid_post': (2,)}
  )
  config.harvest.heads = ml_collections.ConfigDict({'z': (1, 3)})
  config.harvest.flat = True  # z of these heads as one vector of 2 K.
  config.harvest.batch_size = 32
  config.harvest.drop_first = 1
  config.harvest.dtype = 'bfloat16'
  config.harvest.compute_dtype = ''

  config.mesh = ml_collections.ConfigDict()
  config.mesh.model = 1

  if arg == 'quick':
    config.tokens.context = 32
    config.tokens.max_tokens = 16_384
    config.harvest.shard_rows = 4096
  return config
