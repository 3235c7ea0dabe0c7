"""A ReLU dictionary with an L1 penalty (Bricken et al. 2023), eight times as wide.

    python launch/train_dictionary.py --config=configs/dictionaries/relu.py \
        --store=DIR --workdir=DIR

Takes 40 seconds on 2 CPU cores. On the quickstart's dataset (655,605 rows of the
residual stream behind layer 1 of `stdlib-4l`; 1,024 features): FVU 0.177 on held-out
files at L0 113, no dead features. The weight of the penalty trades one for the other;
a TopK dictionary (`topk.py`) does better in both. `quick` takes seconds and scores
nothing worth telling.
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
  config.array = ''  # Which array of the store; '' for its only one.
  config.held_out_rows = 32_768  # Most rows to evaluate on.

  config.dictionary = ml_collections.ConfigDict()
  config.dictionary.expansion = 8  # Features per dimension.
  config.dictionary.activation = ml_collections.ConfigDict({'name': 'relu'})

  config.trainer = ml_collections.ConfigDict()
  config.trainer.steps = 1500
  config.trainer.batch_size = 2048
  config.trainer.learning_rate = 1e-3
  config.trainer.warmup = 0.05
  config.trainer.decay = 0.4
  config.trainer.seed = 0
  config.trainer.terms = ml_collections.ConfigDict(
    {'l1': {'coefficient': 1.0, 'warmup': 300}}
  )
  config.trainer.log_every = 50
  config.trainer.eval_every = 500
  config.trainer.checkpoint_every = 500

  config.mesh = ml_collections.ConfigDict()
  config.mesh.data = 0  # Parts of the batch; 0 for as many as the devices allow.
  config.mesh.model = 1  # Devices that share the features.

  if arg == 'quick':
    config.held_out_rows = 1024
    config.dictionary.expansion = 2
    config.trainer.steps = 20
    config.trainer.batch_size = 64
    config.trainer.terms.l1.warmup = 5
    config.trainer.log_every = 5
    config.trainer.eval_every = 10
    config.trainer.checkpoint_every = 10
  return config
