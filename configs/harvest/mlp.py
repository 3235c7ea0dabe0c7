"""What every MLP of `stdlib-4l` reads and writes, for transcoders.

    python launch/harvest.py --config=configs/harvest/mlp.py --workdir=DIR

2 million rows of eight arrays, 4 gigabytes. Transcoders of one layer need only two of
them. `quick` takes seconds, most of them to compile.
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
  config.model = 'stdlib-4l'  # A name in `interp_jax.list_models()`, or a folder.
  config.description = 'Files of the Python standard library.'

  config.source = ml_collections.ConfigDict()
  config.source.kind = 'text'  # 'text', 'jsonl' or 'tokens' (.npy).
  config.source.path = ''  # A file or folder; '' is the standard library.
  config.source.pattern = '*.py'  # Which files of a folder.
  config.source.errors = 'replace'  # Some of its tests are about other encodings.

  config.tokens = ml_collections.ConfigDict()
  config.tokens.context = 256
  config.tokens.packed = True  # Or one document to a sequence, padded.
  config.tokens.bos = 'document'  # In front of each: 'document', 'sequence', 'none'.
  config.tokens.max_tokens = 2_000_000  # 0 for all.

  config.harvest = ml_collections.ConfigDict()
  sites = {'ln2.normalized': (0, 1, 2, 3), 'mlp_out': (0, 1, 2, 3)}
  dotted = ml_collections.ConfigDict(sites, allow_dotted_keys=True)
  config.harvest.sites = dotted
  config.harvest.batch_size = 16  # Sequences of a batch.
  config.harvest.drop_first = 1  # Tokens of each sequence that give no row.
  config.harvest.dtype = 'bfloat16'  # Stored.
  config.harvest.compute_dtype = ''  # '' for the model's.

  config.mesh = ml_collections.ConfigDict()
  config.mesh.model = 1  # Devices that share one copy of the model.

  if arg == 'quick':
    config.tokens.context = 64
    config.tokens.max_tokens = 16_384
    config.harvest.shard_rows = 4096
  return config
