"""What the configurations of dictionaries share; each of them says what differs."""

from collections.abc import Mapping
from typing import Any

import ml_collections


def common(arg: str, terms: Mapping[str, Any]) -> ml_collections.ConfigDict:
  """Settings for the residual stream behind one layer of `stdlib-4l`.

  Args:
    arg: the variant: '' or 'quick'.
    terms: terms of the objective, by name.

  Raises:
    ValueError: if there is no such variant.
  """
  if arg not in ('', 'quick'):
    raise ValueError(f"There is no variant {arg!r}. Valid: '', 'quick'.")
  config = ml_collections.ConfigDict()
  config.inputs = ()  # Arrays of the store that it reads; () for the only one.
  config.targets = ()  # Those that it writes, where they are others.
  config.lanes = 1  # Streams of the store: a multiple of the hosts is read fastest.
  config.held_out_rows = 32_768  # Most rows to evaluate on.

  config.dictionary = ml_collections.ConfigDict()
  config.dictionary.expansion = 8  # Features per dimension.
  config.dictionary.wiring = ml_collections.ConfigDict({'name': 'autoencoder'})
  config.dictionary.activation = ml_collections.ConfigDict({'name': 'relu'})

  config.trainer = ml_collections.ConfigDict()
  config.trainer.steps = 1500
  config.trainer.batch_size = 2048
  config.trainer.learning_rate = 6e-3
  config.trainer.b2 = 0.99
  config.trainer.warmup = 0.05
  config.trainer.decay = 0.4
  config.trainer.seed = 0
  config.trainer.terms = ml_collections.ConfigDict(terms)
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
    config.trainer.log_every = 5
    config.trainer.eval_every = 10
    config.trainer.checkpoint_every = 10
  return config


def only_in(arg: str, quick: Any, full: Any) -> Any:
  """A value that is smaller in the quick variant."""
  return quick if arg == 'quick' else full
