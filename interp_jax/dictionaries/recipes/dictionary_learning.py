"""The trainers of dictionary_learning, with their defaults.

Most constrain the decoder's rows to norm 1: the gradient along a row is removed, and
the row is normalised after each step. Here rows have norm 1 from the start, there
(where they start at 0.1) from the second step on. Penalties are not weighted by norms,
which are 1. `warmup_steps`, `sparsity_warmup` and `decay_start` are steps, as there.
"""

from collections.abc import Sequence
import math
from typing import Any

from interp_jax.dictionaries.activation import (
  Activation,
  BatchTopK,
  Gated,
  JumpReLU,
  ReLU,
  TopK,
)
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.initial import Init
from interp_jax.dictionaries.objective import (
  L0,
  L1,
  AuxK,
  GateReconstruction,
  Lp,
  Matryoshka,
  SquaredError,
  Term,
)
from interp_jax.dictionaries.resample import Resample
from interp_jax.dictionaries.settings import TrainerConfig
from interp_jax.dictionaries.wiring import Autoencoder

Configs = tuple[DictionaryConfig, TrainerConfig]

# How `AutoEncoder` starts: the encoder at 0.1, the decoder as it is after a step.
SMALL = Init(norm=1.0, encoder_norm=0.1)


def _configs(
  width: int,
  features: int,
  steps: int,
  activation: Activation,
  terms: Sequence[Term],
  warmup_steps: int,
  decay_start: int | None,
  subtract_b_dec: bool = True,
  **given: Any,
) -> Configs:
  """The configs, where nothing else is given: Adam, unit norm, untouched data."""
  defaults: dict[str, Any] = {
    'steps': steps,
    'warmup': warmup_steps / steps,
    'decay': 0.0 if decay_start is None else (steps - decay_start) / steps,
    'eps': 1e-8,
    'terms': tuple(terms),
    'unit_norm': True,
    'center': 'zero',
    'normalize': 'none',
  }
  wiring = Autoencoder(subtract_b_dec)
  config = DictionaryConfig(width, features, activation, wiring)
  return config, TrainerConfig(**(defaults | given))


def standard(
  width: int,
  features: int,
  steps: int,
  batch_size: int = 8192,
  l1: float = 0.1,
  warmup_steps: int = 1000,
  sparsity_warmup: int = 2000,
  decay_start: int | None = None,
  resample_steps: int | None = None,
) -> Configs:
  """`StandardTrainer`: ReLU and L1 with unit norms.

  Differs: resampling is due one step sooner, and the learning rate does not warm up
  anew after it.
  """
  again = None
  if resample_steps is not None:
    again = Resample(
      every=resample_steps,
      until=steps,
      dead_after=max(1, resample_steps * batch_size // 2),
      power=1.0,
      raw=True,
    )
  return _configs(
    width,
    features,
    steps,
    ReLU(),
    [L1(l1, sparsity_warmup, by_norm=False)],
    warmup_steps,
    decay_start,
    batch_size=batch_size,
    learning_rate=1e-3,
    init=SMALL,
    resample=again,
  )


def standard_april(
  width: int,
  features: int,
  steps: int,
  batch_size: int = 8192,
  l1: float = 0.1,
  warmup_steps: int = 1000,
  sparsity_warmup: int = 2000,
  decay_start: int | None = None,
) -> Configs:
  """`StandardTrainerAprilUpdate`: L1 times the decoder's norms, which are free."""
  return _configs(
    width,
    features,
    steps,
    ReLU(),
    [L1(l1, sparsity_warmup)],
    warmup_steps,
    decay_start,
    batch_size=batch_size,
    learning_rate=1e-3,
    unit_norm=False,
    clip=1.0,
    init=Init(norm=0.1),
  )


def gated(
  width: int,
  features: int,
  steps: int,
  batch_size: int = 8192,
  l1: float = 0.1,
  warmup_steps: int = 1000,
  sparsity_warmup: int = 2000,
  decay_start: int | None = None,
) -> Configs:
  """`GatedSAETrainer`: Adam without momentum."""
  return _configs(
    width,
    features,
    steps,
    Gated(),
    [L1(l1, sparsity_warmup, by_norm=False), GateReconstruction()],
    warmup_steps,
    decay_start,
    batch_size=batch_size,
    learning_rate=5e-5,
    b1=0.0,
  )


def p_anneal(
  width: int,
  features: int,
  steps: int,
  batch_size: int = 8192,
  penalty: float = 0.1,
  anneal_start: int = 15_000,
  anneal_end: int | None = None,
  updates: int = 10,
  last: float = 0.0,
  warmup_steps: int = 1000,
  sparsity_warmup: int = 2000,
  decay_start: int | None = None,
  root: bool = True,
) -> Configs:
  """`PAnnealTrainer`: a norm of the codes whose exponent falls (`root`: `'Lp'` there).

  Differs: no resampling; the library's own leaves the weights as they are.
  """
  lp = Lp(
    coefficient=penalty,
    start=anneal_start,
    end=steps if anneal_end is None else anneal_end,
    updates=updates,
    last=last,
    root=root,
    warmup=sparsity_warmup,
  )
  return _configs(
    width,
    features,
    steps,
    ReLU(),
    [lp],
    warmup_steps,
    decay_start,
    batch_size=batch_size,
    learning_rate=1e-3,
    init=SMALL,
  )


def gated_anneal(
  width: int,
  features: int,
  steps: int,
  batch_size: int = 8192,
  penalty: float = 0.1,
  anneal_start: int = 15_000,
  anneal_end: int | None = None,
  updates: int = 10,
  last: float = 0.0,
  warmup_steps: int = 1000,
  sparsity_warmup: int = 2000,
  decay_start: int | None = None,
  root: bool = False,
) -> Configs:
  """`GatedAnnealTrainer`: the same of the gate. Differs: as `p_anneal`."""
  lp = Lp(
    coefficient=penalty,
    start=anneal_start,
    end=steps if anneal_end is None else anneal_end,
    updates=updates,
    last=last,
    root=root,
    warmup=sparsity_warmup,
  )
  return _configs(
    width,
    features,
    steps,
    Gated(),
    [lp, GateReconstruction()],
    warmup_steps,
    decay_start,
    batch_size=batch_size,
    learning_rate=3e-4,
    b1=0.0,
  )


def jumprelu(
  width: int,
  features: int,
  steps: int,
  batch_size: int = 8192,
  penalty: float = 1.0,
  target_l0: float = 20.0,
  bandwidth: float = 0.001,
  warmup_steps: int = 1000,
  sparsity_warmup: int = 2000,
  decay_start: int | None = None,
) -> Configs:
  """`JumpReluTrainer`: pulls the batch's L0 to a target.

  Differs: thresholds stay at 0 or above; there they may fall below, where features pass
  negative values in training and not afterwards.
  """
  l0 = L0(penalty, target_l0, 'relative', sparsity_warmup, of_codes=True)
  return _configs(
    width,
    features,
    steps,
    JumpReLU(0.001, bandwidth),
    [l0],
    warmup_steps,
    decay_start,
    subtract_b_dec=False,
    batch_size=batch_size,
    learning_rate=7e-5,
    b1=0.0,
    clip=1.0,
  )


def _k_configs(
  width: int,
  features: int,
  steps: int,
  activation: Activation,
  terms: Sequence[Term],
  auxk: float,
  batch_size: int,
  warmup_steps: int,
  decay_start: int | None,
) -> Configs:
  """What `topk`, `batchtopk` and `matryoshka` share."""
  aux = AuxK(
    k=width // 2,
    coefficient=auxk,
    # Dead there is what has counted 10 million, this batch among them.
    dead_after=10_000_000 - batch_size - 1,
    pool=features,
    over='residual',
    gradients='all',
  )
  return _configs(
    width,
    features,
    steps,
    activation,
    [*terms, aux],
    warmup_steps,
    decay_start,
    batch_size=batch_size,
    learning_rate=2e-4 / math.sqrt(features / 2**14),
    clip=1.0,
    center='geometric_median',
  )


def topk(
  width: int,
  features: int,
  steps: int,
  batch_size: int = 8192,
  k: int = 32,
  auxk: float = 1 / 32,
  warmup_steps: int = 1000,
  decay_start: int | None = None,
) -> Configs:
  """`TopKTrainer`. Differs: there is no threshold to stand in for TopK at inference."""
  rest = (auxk, batch_size, warmup_steps, decay_start)
  return _k_configs(width, features, steps, TopK(k), (), *rest)


def batchtopk(
  width: int,
  features: int,
  steps: int,
  batch_size: int = 8192,
  k: int = 32,
  auxk: float = 1 / 32,
  warmup_steps: int = 1000,
  decay_start: int | None = None,
  threshold_start: int = 1000,
) -> Configs:
  """`BatchTopKTrainer`."""
  rest = (auxk, batch_size, warmup_steps, decay_start)
  activation = BatchTopK(k, rate=0.001, since=threshold_start + 1)
  return _k_configs(width, features, steps, activation, (), *rest)


def matryoshka(
  width: int,
  features: int,
  steps: int,
  fractions: Sequence[float],
  batch_size: int = 8192,
  k: int = 32,
  auxk: float = 1 / 32,
  warmup_steps: int = 1000,
  decay_start: int | None = None,
  threshold_start: int = 1000,
) -> Configs:
  """`MatryoshkaBatchTopKTrainer`, with groups of these `fractions` of the features.

  The library weighs n errors by 1 / n and then takes their mean, so that each has the
  weight 1 / n^2, against AuxK. Differs: `group_weights` are equal, the default there.
  """
  sizes = [int(fraction * features) for fraction in fractions[:-1]]
  prefixes = tuple(sum(sizes[: i + 1]) for i in range(len(sizes)))
  share = 1 / len(fractions) ** 2
  terms = (SquaredError(share), Matryoshka(prefixes, coefficient=share))
  rest = (auxk, batch_size, warmup_steps, decay_start)
  activation = BatchTopK(k, rate=0.001, since=threshold_start + 1)
  return _k_configs(width, features, steps, activation, terms, *rest)


BUILDERS = (
  standard,
  standard_april,
  gated,
  p_anneal,
  gated_anneal,
  jumprelu,
  topk,
  batchtopk,
  matryoshka,
)
