"""A tuned lens for the embedded model (Belrose et al. 2023).

    python launch/train_tuned_lens.py --config=configs/lenses/tuned.py --workdir=DIR

Training takes two to three minutes on 2 CPU cores. KL from the model's prediction on
held-out files, in nats per token, before layers 0, 1, 2 and 3: 2.42, 2.00, 1.44, 0.33
(the logit lens: 7.60, 4.34, 3.16, 1.20). `quick` takes seconds and scores nothing worth
telling.
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
  config.model = 'stdlib-4l'  # Name or folder of the model.

  config.data = ml_collections.ConfigDict()
  config.data.root = ''  # Folder of Python files; '' is the standard library.
  config.data.context = 256  # Tokens in a row.
  config.data.rows = 8192  # Most rows to train on.
  config.data.held_out_rows = 128  # Most rows to evaluate on.
  config.data.held_out = 0.03
  config.data.seed = 0

  config.training = ml_collections.ConfigDict()
  config.training.steps = 400
  config.training.batch_size = 8
  config.training.microbatches = 4  # Parts that stay in the cache.
  config.training.seed = 0
  config.training.log_every = 20
  config.training.eval_every = 200
  config.training.checkpoint_every = 50

  config.training.optimizer = ml_collections.ConfigDict()
  config.training.optimizer.name = 'adamw'
  config.training.optimizer.learning_rate = 3e-3
  config.training.optimizer.schedule = 'cosine'
  config.training.optimizer.warmup = 20
  config.training.optimizer.weight_decay = 1e-3  # Towards the identity.
  config.training.optimizer.clip = 1.0
  config.training.optimizer.b2 = 0.99

  config.mesh = ml_collections.ConfigDict()
  config.mesh.data = 1  # Parts of the batch; 0 for as many as the devices allow.

  if arg == 'quick':
    config.data.context = 64
    config.data.rows = 64
    config.data.held_out_rows = 8
    config.training.steps = 10
    config.training.batch_size = 4
    config.training.microbatches = 1
    config.training.log_every = 5
    config.training.eval_every = 5
    config.training.checkpoint_every = 5
    config.training.optimizer.warmup = 2
  return config
