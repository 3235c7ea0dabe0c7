"""Training in another library and here: the same weights, the same batches.

Both sides compute in float64. In float32 two runs of the same mathematics drift apart,
since which features are selected is decided by the last bits now and then.
"""

from collections.abc import Iterator, Mapping
import contextlib
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.dictionaries import (
  AuxK,
  DictionaryConfig,
  Plan,
  PreActivation,
  TrainerConfig,
  codes,
  init_state,
  initial,
  make_step,
  objective,
)
from interp_jax.dictionaries.step import final_params, make_optimizer

WIDTH, FEATURES, BATCH, STEPS, WINDOW = 16, 64, 64, 200, 5
SHAPE = {'width': WIDTH, 'features': FEATURES, 'steps': STEPS, 'batch_size': BATCH}
# Features that are dead when losses are compared.
DEAD = np.arange(FEATURES) % 3 == 1


@contextlib.contextmanager
def float64_by_default() -> Iterator[None]:
  """PyTorch makes tensors in float64; quicker than `double`, which watches all."""
  import torch

  torch.set_default_dtype(torch.float64)
  try:
    yield
  finally:
    torch.set_default_dtype(torch.float32)


class Outcome(NamedTuple):
  """What training ended with, on rows that it has not seen."""

  fvu: float
  l0: float


def rows(count: int, seed: int = 0) -> np.ndarray:
  """Sums of a few of 40 planted directions, with some noise, off the origin."""
  directions = np.random.default_rng(7).normal(size=(40, WIDTH))
  directions /= np.linalg.norm(directions, axis=1, keepdims=True)
  rng = np.random.default_rng(seed)
  active = rng.random((count, 40)) < 0.08
  strengths = active * rng.uniform(1, 3, (count, 40))
  return strengths @ directions + 0.05 * rng.normal(size=(count, WIDTH)) + 0.3


def batches() -> np.ndarray:
  return rows(STEPS * BATCH).reshape(STEPS, BATCH, WIDTH)


def random_params(config: DictionaryConfig, trainer: TrainerConfig) -> dict[str, Any]:
  """Weights of no symmetry; dead features read little, so that they are not chosen."""
  rng = np.random.default_rng(3)
  draw = {name: rng.normal(size=shape) for name, shape in config.shapes().items()}
  norms = rng.uniform(0.5, 1.5, (FEATURES, 1))
  W_dec = draw['W_dec'] / np.linalg.norm(draw['W_dec'], axis=1, keepdims=True)
  draw['W_dec'] = W_dec if trainer.unit_norm else W_dec * norms
  draw['W_enc'] = 0.5 * draw['W_enc'] * np.where(DEAD, 0.02, 1)
  for name in set(draw) - {'W_enc', 'W_dec'}:
    draw[name] = 0.1 * draw[name]
  if 'threshold' in draw:
    draw['threshold'] = np.abs(draw['threshold']) + 0.2
  return draw


def with_window(trainer: TrainerConfig, dead_after: int) -> TrainerConfig:
  """Terms of dead features with so short a memory that they matter in a short run."""
  of_dead = (AuxK, PreActivation)
  shorten = lambda term: dataclasses.replace(term, dead_after=dead_after)
  terms = [shorten(t) if isinstance(t, of_dead) else t for t in trainer.terms]
  return dataclasses.replace(trainer, terms=tuple(terms))


def loss_and_gradients(
  config: DictionaryConfig,
  trainer: TrainerConfig,
  params: Mapping[str, np.ndarray],
  batch: np.ndarray,
  targets: np.ndarray | None = None,
) -> tuple[float, dict[str, np.ndarray]]:
  """Our loss and gradients, in float64, in the middle of training."""
  idle = jnp.where(DEAD, np.iinfo(np.int32).max, 0).astype(jnp.int32)
  states = objective.init_states(trainer.objective)

  def loss(params):
    step = jnp.asarray(STEPS, jnp.int32)
    targets_ = batch if targets is None else targets
    forward = objective.run(
      config, params, batch, idle, step, targets=jnp.asarray(targets_), states=states
    )
    return objective.total_loss(forward, trainer.objective)[0]

  with jax.enable_x64(True):
    batch = jnp.asarray(batch, jnp.float64)
    arrays = {name: jnp.asarray(value) for name, value in params.items()}
    value, grads = jax.jit(jax.value_and_grad(loss))(arrays)
    return float(value), {name: np.asarray(grad) for name, grad in grads.items()}


def assert_same_loss(ours: tuple, theirs: tuple) -> None:
  """The same loss to 1e-5, and the same gradient of every parameter."""
  np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5)
  assert ours[1].keys() == theirs[1].keys()
  for name, gradient in ours[1].items():
    scale = np.abs(theirs[1][name]).max()
    assert scale > 0, f'nothing learns {name}'
    np.testing.assert_allclose(
      gradient, theirs[1][name], rtol=1e-5, atol=1e-7 * scale, err_msg=name
    )


def train(
  config: DictionaryConfig,
  trainer: TrainerConfig,
  params: Mapping[str, np.ndarray],
  batches: Any,
) -> Any:
  """The state after our steps from these weights on these batches."""
  first = jax.tree.map(lambda array: array[0], batches)
  inputs = first['inputs'] if isinstance(first, Mapping) else first
  trainer = dataclasses.replace(trainer, compute_dtype='float64')
  with jax.enable_x64(True):
    state = init_state(config, trainer, initial.measure(inputs, 'zero', 'none'))
    ready = {name: jnp.asarray(params[name], jnp.float64) for name in state.params}
    state = dataclasses.replace(
      state, params=ready, opt_state=make_optimizer(trainer).init(ready)
    )
    step = make_step(config, trainer, Plan('dense'))
    return jax.jit(lambda state: jax.lax.scan(step, state, batches))(state)[0]


def outcome(
  config: DictionaryConfig, state: Any, held_out: np.ndarray, targets: Any = None
) -> Outcome:
  """FVU and L0 of our parameters, on rows that they were not trained on."""
  targets = held_out if targets is None else targets
  with jax.enable_x64(True):
    forward = objective.run(
      config,
      final_params(state),
      jnp.asarray(held_out),
      state.idle,
      state.step,
      targets=jnp.asarray(targets),
    )
    l0 = float(codes.active(forward.codes, forward.batch).mean())
    return Outcome(fvu(np.asarray(forward.outputs), targets), l0)


def fvu(outputs: np.ndarray, targets: np.ndarray) -> float:
  return float(
    ((targets - outputs) ** 2).sum() / ((targets - targets.mean(0)) ** 2).sum()
  )


def assert_stayed_together(ours: Outcome, theirs: Outcome, rtol: float = 0.01) -> None:
  """Within a hundredth of each other, after having learned something."""
  assert theirs.fvu < 0.8
  np.testing.assert_allclose(ours.fvu, theirs.fvu, rtol=rtol)
  np.testing.assert_allclose(ours.l0, theirs.l0, rtol=rtol)
