"""The sparse coders of sparsify, with its defaults.

Its loss is the batch's fraction of variance unexplained. The encoder's backward pass is
hand-written there and passes on nothing but the gradient of the selected values, so
that AuxK and Multi-TopK train the decoder alone. Its default optimiser is schedule-free
signum, and what is saved is the average. Differs, in all:

- A selected pre-activation below 0 (its code is 0) gets no gradient; there it does.
- A feature that is selected with code 0 is not active; there it counts as such. With
  Multi-TopK, all 4 k that are selected count as active there.
- First encoders have columns of norm 0.58, there of about that.
- No decay of k, no muon.
"""

import math

from interp_jax.core import unknown
from interp_jax.dictionaries.activation import Activation, GroupMax, TopK
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.initial import Init
from interp_jax.dictionaries.objective import AuxK, MultiTopK, SquaredError, Term
from interp_jax.dictionaries.settings import OPTIMIZERS, TrainerConfig
from interp_jax.dictionaries.wiring import Autoencoder, Transcoder

Configs = tuple[DictionaryConfig, TrainerConfig]

# The norm of a column of `torch.nn.Linear`'s uniform numbers.
ENCODER_NORM = 1 / math.sqrt(3)


def _configs(
  width: int,
  features: int,
  steps: int,
  activation: Activation,
  wiring: Autoencoder | Transcoder,
  batch_size: int,
  optimizer: str,
  auxk: float,
  warmup_steps: int,
  multi_topk: bool = False,
) -> Configs:
  if optimizer not in OPTIMIZERS:
    raise ValueError(unknown('optimizer', optimizer, OPTIMIZERS))
  terms: list[Term] = [SquaredError(over='variance')]
  if auxk:
    terms.append(
      AuxK(
        k=width // 2,
        coefficient=auxk,
        dead_after=10_000_000,
        pool=features,
        over='variance',
        by_dead=True,
        gradients='decoder',
      )
    )
  if multi_topk:
    terms.append(MultiTopK(over='variance', gradients='decoder'))
  schedule_free = optimizer == 'signum'
  init = Init(encoder_norm=ENCODER_NORM)
  if not wiring.reconstructs:
    init = Init('zero', encoder='random', encoder_norm=ENCODER_NORM, centered=True)
  trainer = TrainerConfig(
    steps=steps,
    batch_size=batch_size,
    learning_rate=(5e-3 if schedule_free else 2e-4) / math.sqrt(features / 2**14),
    warmup=0.0 if schedule_free else warmup_steps / steps,
    decay=0.0 if schedule_free else 1 - warmup_steps / steps,
    optimizer=optimizer,
    b1=0.95 if schedule_free else 0.9,
    eps=1e-8,
    terms=tuple(terms),
    unit_norm=wiring.reconstructs,
    init=init,
    center='mean',
    normalize='none',
  )
  return DictionaryConfig(width, features, activation, wiring), trainer


def topk(
  width: int,
  features: int,
  steps: int,
  batch_size: int = 65_536,
  k: int = 32,
  optimizer: str = 'signum',
  auxk: float = 0.0,
  multi_topk: bool = False,
  warmup_steps: int = 1000,
) -> Configs:
  """An autoencoder with TopK. A batch there is 32 sequences, here of 2048 tokens."""
  rest = (batch_size, optimizer, auxk, warmup_steps, multi_topk)
  return _configs(width, features, steps, TopK(k), Autoencoder(), *rest)


def groupmax(
  width: int,
  features: int,
  steps: int,
  batch_size: int = 65_536,
  k: int = 32,
  optimizer: str = 'signum',
  auxk: float = 0.0,
  warmup_steps: int = 1000,
) -> Configs:
  """An autoencoder that keeps the largest feature of each of k groups."""
  rest = (batch_size, optimizer, auxk, warmup_steps)
  return _configs(width, features, steps, GroupMax(k), Autoencoder(), *rest)


def transcoder(
  width: int,
  features: int,
  steps: int,
  batch_size: int = 65_536,
  k: int = 32,
  optimizer: str = 'signum',
  auxk: float = 0.0,
  multi_topk: bool = False,
  warmup_steps: int = 1000,
) -> Configs:
  """A transcoder with TopK, whose decoder starts at 0 and has free norms."""
  rest = (batch_size, optimizer, auxk, warmup_steps, multi_topk)
  return _configs(width, features, steps, TopK(k), Transcoder(), *rest)


def skip_transcoder(
  width: int,
  features: int,
  steps: int,
  batch_size: int = 65_536,
  k: int = 32,
  optimizer: str = 'signum',
  auxk: float = 0.0,
  multi_topk: bool = False,
  warmup_steps: int = 1000,
) -> Configs:
  """The same with a skip connection.

  Differs: Multi-TopK's output has the skip connection, too; there it has not.
  """
  rest = (batch_size, optimizer, auxk, warmup_steps, multi_topk)
  wiring = Transcoder(use_skip=True)
  return _configs(width, features, steps, TopK(k), wiring, *rest)


BUILDERS = (topk, groupmax, transcoder, skip_transcoder)
