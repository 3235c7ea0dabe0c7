"""The main job: harvest, dictionary, evaluation, features, patching, one page.

    python launch/quickstart.py --workdir=DIR
    python launch/quickstart.py --config=configs/quickstart.py:quick --workdir=DIR

`quick` takes half a minute, nearly all of it to compile, and scores nothing worth
telling: it is for tests.
"""

import ml_collections


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """The configuration, in the order of the stages.

  Args:
    arg: the variant: '' or 'quick'.

  Raises:
    ValueError: if there is no such variant.
  """
  if arg not in ('', 'quick'):
    raise ValueError(f"There is no variant {arg!r}. Valid: '', 'quick'.")
  config = ml_collections.ConfigDict()
  config.model = 'stdlib-4l'  # A name in `interp_jax.list_models()`, or a folder.
  config.corpus = ''  # Folder of Python files; '' is the standard library.
  config.seed = 0

  config.harvest = ml_collections.ConfigDict()
  config.harvest.site = 'resid_post'
  config.harvest.layer = 1
  config.harvest.tokens = 655_360
  config.harvest.held_out_tokens = 65_280
  config.harvest.batch_size = 32  # Sequences of the model's context.
  config.harvest.shard_rows = 65_536  # A killed harvest repeats up to this many.

  config.dictionary = ml_collections.ConfigDict()
  config.dictionary.expansion = 8  # Features per dimension.
  config.dictionary.k = 32

  config.trainer = ml_collections.ConfigDict()
  config.trainer.steps = 1500
  config.trainer.batch_size = 2048
  config.trainer.learning_rate = 6e-3
  config.trainer.b2 = 0.99
  config.trainer.warmup = 0.05
  config.trainer.decay = 0.4
  config.trainer.terms = ml_collections.ConfigDict({'auxk': {'dead_after': 100_000}})
  config.trainer.log_every = 25
  config.trainer.eval_every = 500
  config.trainer.checkpoint_every = 250

  config.features = ml_collections.ConfigDict()
  config.features.count = 12  # Features on the page.
  config.features.contexts = 4  # Contexts of each.
  config.features.tokens = 8  # Tokens that each raises most, and lowers most.

  config.patching = ml_collections.ConfigDict()
  config.patching.pairs = 64
  config.patching.templates = ('loop', 'argument')  # Of `tasks.pairs.TEMPLATES`.
  config.patching.context = 24  # Tokens of the induction pairs.

  config.circuit = ml_collections.ConfigDict()
  config.circuit.steps = 10  # Of integrated gradients.
  config.circuit.shares = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0)
  config.circuit.faithful = 0.65  # The circuit is the smallest that is so faithful.
  config.circuit.rows = 32  # Rows of repeated random tokens to ablate it on.
  config.circuit.periods = (16, 32)
  config.circuit.draws = 10  # Sets of as many other edges.

  if arg == 'quick':
    config.harvest.tokens = 4096
    config.harvest.held_out_tokens = 1024
    config.harvest.batch_size = 8
    config.harvest.shard_rows = 512
    config.dictionary.expansion = 4
    config.dictionary.k = 4
    config.trainer.steps = 40
    config.trainer.batch_size = 256
    config.trainer.terms.auxk.dead_after = 2000
    config.trainer.log_every = 5
    config.trainer.eval_every = 20
    config.trainer.checkpoint_every = 10
    config.features.count = 3
    config.features.contexts = 2
    config.features.tokens = 3
    config.patching.pairs = 4
    config.patching.templates = ('loop',)
    config.patching.context = 16
    config.circuit.steps = 2
    config.circuit.shares = (0.05, 0.2, 1.0)
    config.circuit.rows = 4
    config.circuit.periods = (5, 7)
    config.circuit.draws = 2
  return config
