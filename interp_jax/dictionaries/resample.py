"""Resampling: dead features start again at examples that are badly reconstructed."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import optax

from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.constraint import unit_rows

Params = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Resample:
  """When and how dead features start again (Bricken et al. 2023, appendix).

  A dead feature takes the direction of an example, drawn with a probability that grows
  with its error: the decoder's row becomes the target's direction from `b_dec`, of the
  mean norm of living rows, the encoder's column the input's direction (from `b_dec`
  where the two are the same), of `factor` times the mean norm of living columns; biases
  and thresholds become what they were at first, and what the optimiser remembers of the
  feature is forgotten.

  Attributes:
    every: Steps between resamplings.
    until: The last step at which there may be one.
    dead_after: Examples without activity after which a feature is dead.
    factor: Norm of a new encoder's column, as a share of the mean of living ones.
    power: Examples are drawn in proportion to `||error||^power`: 4 in Bricken et al.,
      1 in dictionary_learning.
    raw: Whether examples are taken as they are, as dictionary_learning does: not from
      `b_dec`, and an encoder's column is so much longer as its example is.
  """

  every: int
  until: int
  dead_after: int
  factor: float = 0.2
  power: float = 4.0
  raw: bool = False

  def due(self, step: Any) -> Any:
    """Whether to resample after the update that makes `step` updates."""
    return (step % self.every == 0) & (step <= self.until)

  def check(self, config: DictionaryConfig) -> None:
    """Raises ValueError where the settings make no sense for a dictionary."""
    if len(config.code_shape) > 1:
      raise ValueError(
        f'Resampling is not for the wiring {config.wiring.name!r}: which layer made an '
        'error cannot be told. Use the term pre_activation or auxk.'
      )
    if min(self.every, self.until, self.dead_after) < 1:
      raise ValueError(f'{self}: every, until and dead_after must be at least 1.')


def resample(
  settings: Resample,
  config: DictionaryConfig,
  params: Params,
  opt_state: Any,
  idle: Int[Array, ' F'],
  inputs: Float[Array, 'B *in'],
  targets: Float[Array, 'B *out'],
  error: Float[Array, 'B *out'],
  key: Array,
) -> tuple[Params, Any, Int[Array, ' F']]:
  """The parameters, the optimiser's state and the counters after a resampling.

  Args:
    settings: How.
    config: The dictionary's.
    params: The parameters.
    opt_state: The optimiser's state.
    idle: Examples since each feature was last active.
    inputs: A batch.
    targets: Its targets.
    error: Its errors.
    key: Of the draw.
  """
  size = _norms(error)
  # Gumbel's trick draws without replacement: the largest of log-weights with noise.
  noisy = settings.power * jnp.log(jnp.maximum(size, 1e-30))
  noisy = noisy + jax.random.gumbel(key, noisy.shape)
  order = jnp.argsort(-noisy)
  dead = idle > settings.dead_after
  rank = jnp.cumsum(dead) - 1
  chosen = order[jnp.clip(rank, 0, order.size - 1)]
  fresh = fresh_params(settings, config, params, ~dead, inputs[chosen], targets[chosen])
  dead = dead & (rank < order.size)  # No more than there are examples.
  params = {name: _mix(name, fresh.get(name), dead, p) for name, p in params.items()}
  return params, _forget(opt_state, dead), jnp.where(dead, 0, idle)


def fresh_params(
  settings: Resample,
  config: DictionaryConfig,
  params: Params,
  alive: Bool[Array, ' F'],
  inputs: Float[Array, 'F *in'],
  targets: Float[Array, 'F *out'],
) -> Params:
  """The parameters that features have which start again, as if all did.

  Args:
    settings: How.
    config: The dictionary's.
    params: The parameters before.
    alive: Which features set the norms of new ones.
    inputs: The example of each feature.
    targets: Their targets.
  """
  W_dec, b_dec = params['W_dec'], params['b_dec']
  output = targets if settings.raw else targets - b_dec
  fresh = config.activation.init(config.code_shape)
  fresh['W_dec'] = unit_rows(output) * _mean_norm(W_dec, alive)
  if 'W_enc' in params:
    columns = jnp.moveaxis(params['W_enc'], -1, 0)
    centre = b_dec if config.wiring.reconstructs else 0
    rows = inputs if settings.raw else unit_rows(inputs - centre)
    rows = rows * settings.factor * _mean_norm(columns, alive)
    fresh['W_enc'] = jnp.moveaxis(rows, 0, -1)
  return fresh


def _norms(rows: Array) -> Array:
  return jnp.linalg.norm(rows.reshape(rows.shape[0], -1), axis=-1)


def _mean_norm(rows: Array, alive: Array) -> Array:
  """Of the living ones, or of all where none lives."""
  alive = alive | ~jnp.any(alive)
  return jnp.sum(jnp.where(alive, _norms(rows), 0)) / jnp.sum(alive)


def _feature_axis(name: str, leaf: Array) -> int:
  """The axis of features: first in the decoder, last everywhere else."""
  return 0 if name == 'W_dec' else leaf.ndim - 1


def _mix(name: str, fresh: Array | None, dead: Array, leaf: Array) -> Array:
  if fresh is None:
    return leaf
  shape = [1] * leaf.ndim
  shape[_feature_axis(name, leaf)] = -1
  return jnp.where(dead.reshape(shape), fresh, leaf)


def _forget(opt_state: Any, dead: Array) -> Any:
  """Adam's moments with those of dead features at 0."""
  is_adam = lambda x: isinstance(x, optax.ScaleByAdamState)

  def clear(moments: Params) -> Params:
    shared = ('b_dec', 'W_skip')
    return {
      name: m if name in shared else _mix(name, jnp.zeros_like(m), dead, m)
      for name, m in moments.items()
    }

  def one(state: Any) -> Any:
    if not is_adam(state):
      return state
    return state._replace(mu=clear(state.mu), nu=clear(state.nu))

  return jax.tree.map(one, opt_state, is_leaf=is_adam)
