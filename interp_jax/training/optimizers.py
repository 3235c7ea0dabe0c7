"""Optimizers for parameters that are stacked by layer, chosen by parameter name."""

import dataclasses
import re
from typing import Any

import jax
import optax
from optax.contrib import MuonDimensionNumbers

from interp_jax.core import unknown
from interp_jax.training import schedules

# Which axes of a stacked weight a matrix product sums over, and which it makes. What is
# in neither is a batch of matrices: layers, and heads, each of which Muon treats as a
# matrix of its own. What no rule names (embeddings, gains, biases) is left to Adam.
MUON_RULES: tuple[tuple[str, MuonDimensionNumbers], ...] = (
  (r'blocks/attn/W_[QKV]$', MuonDimensionNumbers(2, 3)),  # [L, H or G, D, K]
  (r'blocks/attn/W_O$', MuonDimensionNumbers(2, 3)),  # [L, H, K, D]
  (r'blocks/mlp/W_(in|gate)$', MuonDimensionNumbers(1, 2)),  # [L, D, M]
  (r'blocks/mlp/W_out$', MuonDimensionNumbers(1, 2)),  # [L, M, D]
)

# Root mean square of Muon's updates, per unit of learning rate: that of Adam's in
# practice, so that both can share a learning rate (Liu et al. 2025, section 2.2).
MUON_RMS = 0.2


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """An optimizer with its schedule.

  Attributes:
    name: `'adamw'` or `'muon'` (matrices inside the layers by Muon, the rest by Adam).
    learning_rate: peak learning rate.
    schedule: `'cosine'` or `'stable'` (plateau, then linear decay).
    warmup: steps of linear warm-up.
    decay: steps of decay at the end, for `'stable'`.
    final: last learning rate as a fraction of the peak.
    weight_decay: decoupled decay of the matrices (names that start with `W_`), per
      unit of learning rate.
    clip: global norm above which gradients are scaled down; 0 for never.
    b1: decay of the first moment (Adam).
    b2: decay of the second moment (Adam).
    momentum: decay of the momentum (Muon).
  """

  name: str = 'adamw'
  learning_rate: float = 1e-3
  schedule: str = 'cosine'
  warmup: int = 100
  decay: int = 0
  final: float = 0.0
  weight_decay: float = 0.1
  clip: float = 1.0
  b1: float = 0.9
  b2: float = 0.95
  momentum: float = 0.95


def make_schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
  """The learning rate as a function of the step.

  Args:
    config: the optimizer.
    steps: length of the run.

  Raises:
    ValueError: if there is no such schedule, or it does not fit into the run.
  """
  peak, warmup, final = config.learning_rate, config.warmup, config.final
  if config.schedule == 'cosine':
    return schedules.warmup_cosine(peak, steps, warmup, final)
  if config.schedule == 'stable':
    return schedules.warmup_stable_decay(peak, steps, warmup, config.decay, final)
  raise ValueError(unknown('schedule', config.schedule, ('cosine', 'stable')))


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
  """AdamW (Loshchilov & Hutter 2019) or Muon (Jordan 2024), with clipping.

  Args:
    config: the optimizer.
    steps: length of the run.

  Raises:
    ValueError: if there is no such optimizer or schedule.
  """
  schedule = make_schedule(config, steps)
  if config.name == 'adamw':
    update = optax.adamw(
      schedule,
      b1=config.b1,
      b2=config.b2,
      weight_decay=config.weight_decay,
      mask=_is_matrix,
    )
  elif config.name == 'muon':
    update = _muon(config, schedule)
  else:
    raise ValueError(unknown('optimizer', config.name, ('adamw', 'muon')))
  clip = optax.clip_by_global_norm(config.clip) if config.clip else optax.identity()
  return optax.chain(clip, update)


def _muon(
  config: OptimizerConfig, schedule: optax.Schedule
) -> optax.GradientTransformation:
  # Embeddings are not decayed here: Adam's share of Muon has one decay for all, gains
  # and biases included.
  return optax.contrib.muon(
    schedule,
    beta=config.momentum,
    weight_decay=config.weight_decay,
    adam_b1=config.b1,
    adam_b2=config.b2,
    adam_weight_decay=0.0,
    muon_weight_dimension_numbers=_muon_axes,
    consistent_rms=MUON_RMS,
  )


def _path(keys: Any) -> str:
  return jax.tree_util.keystr(keys, simple=True, separator='/')


def _is_matrix(params: Any) -> Any:
  return jax.tree_util.tree_map_with_path(
    lambda keys, _: _path(keys).split('/')[-1].startswith('W_'), params
  )


def _muon_axes(params: Any) -> Any:
  def axes(keys: Any, leaf: Any) -> MuonDimensionNumbers | None:
    del leaf
    matches = (axes for rule, axes in MUON_RULES if re.search(rule, _path(keys)))
    return next(matches, None)

  return jax.tree_util.tree_map_with_path(axes, params)
