"""A four-layer language model of Python source: the embedded model `stdlib-4l`.

    python launch/train_lm.py --config=configs/stdlib_4l.py --workdir=DIR

Takes about 35 minutes on one CPU core. Held-out loss 2.27 nats per token, where a
trigram model with Kneser-Ney smoothing has 3.27 (`interp_jax.tasks.KneserNey`).

The second seed, `stdlib-4l-b`, has the same data and the same tokenizer:

    python launch/train_lm.py --config=configs/stdlib_4l.py:b --workdir=DIR

Variants: '' (the model), 'b' (another seed), 'quick' (a few seconds, to try it out).
"""

import ml_collections


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """The configuration.

  Args:
    arg: the variant: '', 'b' or 'quick'.

  Raises:
    ValueError: if there is no such variant.
  """
  config = ml_collections.ConfigDict()
  config.name = 'stdlib-4l'
  config.seed = 0
  config.steps = 3500
  config.batch_size = 16
  config.microbatches = 8  # Parts that stay in the cache: a third faster on CPUs.
  config.log_every = 25
  config.eval_every = 250
  config.eval_rows = 256
  config.checkpoint_every = 100
  config.keep = 2
  config.unroll = True  # A third faster on CPUs.

  config.model = ml_collections.ConfigDict()
  config.model.vocab_size = 2048
  config.model.width = 128
  config.model.layers = 4
  config.model.heads = 4
  config.model.head_dim = 32
  config.model.mlp_width = 512
  config.model.context = 256
  config.model.norm = 'rmsnorm'
  config.model.positions = 'rotary'
  config.model.rotary_dim = 16
  config.model.act = 'relu2'
  config.model.qkv_bias = False
  config.model.attn_out_bias = False
  config.model.mlp_bias = False
  config.model.dtype = 'float32'
  config.model.param_dtype = 'float32'

  config.data = ml_collections.ConfigDict()
  config.data.root = ''  # Folder of Python files; '' is the standard library.
  config.data.tokenizer = ''  # A tokenizer.json; '' trains one on the data.
  config.data.held_out = 0.03
  config.data.seed = 0

  config.optimizer = ml_collections.ConfigDict()
  config.optimizer.name = 'muon'
  config.optimizer.learning_rate = 4e-3
  config.optimizer.schedule = 'stable'
  config.optimizer.warmup = 100
  config.optimizer.decay = 1750
  config.optimizer.final = 0.0
  config.optimizer.weight_decay = 0.1
  config.optimizer.clip = 1.0
  config.optimizer.b1 = 0.9
  config.optimizer.b2 = 0.95
  config.optimizer.momentum = 0.95

  config.mesh = ml_collections.ConfigDict()
  config.mesh.data = 0  # Copies of the model; 0 for as many as the devices allow.
  config.mesh.model = 1  # Devices that share one copy.

  if arg == 'b':
    config.name = 'stdlib-4l-b'
    config.seed = 1
  elif arg == 'quick':
    config.name = 'stdlib-quick'
    config.steps = 20
    config.batch_size = 8
    config.microbatches = 1
    config.log_every = 5
    config.eval_every = 10
    config.eval_rows = 16
    config.checkpoint_every = 10
    config.model.width = 32
    config.model.layers = 2
    config.model.heads = 2
    config.model.head_dim = 16
    config.model.mlp_width = 64
    config.model.context = 64
    config.optimizer.warmup = 5
    config.optimizer.decay = 5
  elif arg:
    raise ValueError(f"There is no variant {arg!r}. Valid: '', 'b', 'quick'.")
  return config
