"""The architectures that SAELens trains, with the defaults of its `SAETrainer`.

Its objective is that of this library: squared errors summed over the width and
penalties times the norms of the decoder, means over examples. The decoder is free, the
gradient clipped to norm 1; dead is what was silent for 1000 batches.
"""

import dataclasses

from interp_jax.core import unknown
from interp_jax.dictionaries.activation import (
  AbsTopK,
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
  Matryoshka,
  PreActivation,
  Tanh,
  Term,
)
from interp_jax.dictionaries.settings import TrainerConfig

Configs = tuple[DictionaryConfig, TrainerConfig]
MODES = ('step', 'tanh', 'quadratic')
WINDOW = 1000


def _configs(
  width: int,
  features: int,
  activation: Activation,
  steps: int,
  batch_size: int,
  *terms: Term,
) -> Configs:
  trainer = TrainerConfig(
    steps=steps,
    batch_size=batch_size,
    learning_rate=3e-4,
    warmup=0.0,
    decay=0.0,
    eps=1e-8,
    clip=1.0,
    terms=terms,
    unit_norm=False,
    init=Init(norm=0.1),
    center='zero',
    normalize='none',
  )
  return DictionaryConfig(width, features, activation), trainer


def _auxk(width: int, features: int, batch_size: int, coefficient: float) -> AuxK:
  return AuxK(
    k=width // 2,
    coefficient=coefficient,
    dead_after=WINDOW * batch_size,
    pool=features,
    by_dead=True,
    rectify=False,
    gradients='all',
  )


def standard(
  width: int,
  features: int,
  steps: int,
  batch_size: int = 4096,
  l1: float = 1.0,
  l1_warmup: int = 0,
) -> Configs:
  """ReLU and L1 times the decoder's norms. Differs: `lp_norm` is 1."""
  term = L1(l1, warmup=l1_warmup)
  return _configs(width, features, ReLU(), steps, batch_size, term)


def gated(
  width: int,
  features: int,
  steps: int,
  batch_size: int = 4096,
  l1: float = 1.0,
  l1_warmup: int = 0,
) -> Configs:
  """Gates; the decoder learns from their reconstruction, too."""
  terms = (L1(l1, warmup=l1_warmup), GateReconstruction(frozen=False))
  return _configs(width, features, Gated(), steps, batch_size, *terms)


def jumprelu(
  width: int,
  features: int,
  steps: int,
  batch_size: int = 4096,
  l0: float = 1.0,
  l0_warmup: int = 0,
  mode: str = 'step',
  target_l0: float | None = None,
  tanh_scale: float = 4.0,
  pre_act: float | None = None,
  init_threshold: float = 0.01,
  bandwidth: float = 0.05,
  to_input: bool = False,
) -> Configs:
  """JumpReLU; sparsity is `mode`, and `pre_act` weighs Anthropic's pre-activation loss.

  Raises:
    ValueError: if there is no such mode, or `'quadratic'` has no `target_l0`.
  """
  if mode not in MODES:
    raise ValueError(unknown('sparsity mode of jumprelu', mode, MODES))
  if mode == 'quadratic' and target_l0 is None:
    raise ValueError("mode='quadratic' pulls L0 to a target: give target_l0.")
  terms: list[Term] = [
    {
      'step': L0(l0, warmup=l0_warmup),
      'tanh': Tanh(l0, tanh_scale, warmup=l0_warmup),
      'quadratic': L0(l0, target_l0 or 1.0, 'quadratic', warmup=l0_warmup),
    }[mode]
  ]
  if pre_act is not None:
    terms.append(PreActivation(pre_act, WINDOW * batch_size))
  activation = JumpReLU(init_threshold, bandwidth, to_input)
  return _configs(width, features, activation, steps, batch_size, *terms)


def topk(
  width: int,
  features: int,
  steps: int,
  batch_size: int = 4096,
  k: int = 100,
  auxk: float = 1.0,
) -> Configs:
  """TopK of pre-activations times the decoder's norms, with AuxK."""
  aux = _auxk(width, features, batch_size, auxk)
  return _configs(width, features, TopK(k, by_norm=True), steps, batch_size, aux)


def abstopk(
  width: int,
  features: int,
  steps: int,
  batch_size: int = 4096,
  k: int = 100,
  auxk: float = 1.0,
) -> Configs:
  """The k largest magnitudes, with their signs."""
  aux = _auxk(width, features, batch_size, auxk)
  return _configs(width, features, AbsTopK(k, by_norm=True), steps, batch_size, aux)


def batchtopk(
  width: int,
  features: int,
  steps: int,
  batch_size: int = 4096,
  k: int | float = 100,
  auxk: float = 1.0,
  threshold_rate: float = 0.01,
) -> Configs:
  """BatchTopK; the running threshold starts at 0."""
  aux = _auxk(width, features, batch_size, auxk)
  activation = BatchTopK(k, threshold_rate, by_norm=True, from_zero=True)
  return _configs(width, features, activation, steps, batch_size, aux)


def matryoshka_batchtopk(
  width: int,
  features: int,
  steps: int,
  prefixes: tuple[int, ...],
  batch_size: int = 4096,
  k: int | float = 100,
  auxk: float = 1.0,
  threshold_rate: float = 0.01,
) -> Configs:
  """BatchTopK, and the errors of the first features alone.

  `prefixes` are `matryoshka_widths` without the last, which is all features. Differs:
  AuxK is of the whole error (`use_matryoshka_aux_loss=False`, the default there).
  """
  config, trainer = batchtopk(
    width, features, steps, batch_size, k, auxk, threshold_rate
  )
  terms = (Matryoshka(tuple(prefixes)), *trainer.terms)
  return config, dataclasses.replace(trainer, terms=terms)


BUILDERS = (
  standard,
  gated,
  jumprelu,
  topk,
  abstopk,
  batchtopk,
  matryoshka_batchtopk,
)
