"""Compiled training steps, on one device or on a mesh.

A step is a function `(state, batch) -> (state, metrics)`. The batch is split over the
mesh's `data` axis; how the state is laid out is the caller's choice. The loss averages
over the global batch, so the number of devices changes nothing but rounding.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import optax

from interp_jax.sharding import DATA, shard_batch
from interp_jax.training.state import TrainState

Metrics = dict[str, Any]
LossFn = Callable[[Any, Any], tuple[Any, Metrics]]
"""`(params, batch) -> (loss, metrics)`: the scalar to reduce, scalars to log."""

StepFn = Callable[[Any, Any], tuple[Any, Metrics]]
"""`(state, batch) -> (state, metrics)`."""


def make_train_step(
  loss_fn: LossFn,
  optimizer: optax.GradientTransformation,
  mesh: Mesh | None = None,
  state_sharding: Any = None,
  donate: bool = True,
  microbatches: int = 1,
) -> StepFn:
  """A compiled step of gradient descent on `loss_fn`.

  The metrics are `loss_fn`'s own, `loss`, and `grad_norm` (before any clipping).

  Args:
    loss_fn: the loss, which must average over the batch.
    optimizer: turns gradients into updates.
    mesh: devices to run on. Without one, JAX's default device.
    state_sharding: a sharding, or a pytree of shardings that is a prefix of the state
      (`sharding.shardings` makes one from rules). By default the state is replicated;
      place the first state accordingly, with `jax.device_put`.
    donate: whether the step may reuse the given state's memory. The given state is
      unusable afterwards.
    microbatches: in how many parts of equal size to take the batch, one after the
      other, to save memory. On CPUs more parts are faster, too: their activations
      stay in the cache. Gradients and metrics are averaged over the parts.
  """

  def step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
    return descend(loss_fn, optimizer, state, batch, microbatches)

  return compile_step(step, mesh, state_sharding, donate)


def descend(
  loss_fn: LossFn,
  optimizer: optax.GradientTransformation,
  state: TrainState,
  batch: Any,
  microbatches: int = 1,
) -> tuple[TrainState, Metrics]:
  """The step of `make_train_step` as a pure function, for programs that do more."""
  (loss, metrics), grads = gradient(loss_fn, state.params, batch, microbatches)
  updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
  params = optax.apply_updates(state.params, updates)
  metrics = {**metrics, 'loss': loss, 'grad_norm': optax.tree.norm(grads)}
  return TrainState(state.step + 1, params, opt_state), metrics


def gradient(
  loss_fn: LossFn, params: Any, batch: Any, microbatches: int = 1
) -> tuple[tuple[Any, Metrics], Any]:
  """The loss with its metrics, and its gradient, averaged over parts of the batch.

  Args:
    loss_fn: the loss, which must average over the batch.
    params: where to take the gradient.
    batch: pytree of arrays `[rows, ...]`.
    microbatches: in how many parts of equal size to take the batch.

  Returns:
    `(loss, metrics), gradient`, as from `jax.value_and_grad(..., has_aux=True)`.

  Raises:
    ValueError: if the parts are not of equal size.
  """
  function = jax.value_and_grad(loss_fn, has_aux=True)
  if microbatches == 1:
    return function(params, batch)
  parts = jax.tree.map(lambda rows: _deal(rows, microbatches), batch)
  results = jax.eval_shape(function, params, jax.tree.map(lambda x: x[0], parts))
  zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), results)

  def add(total: Any, part: Any) -> tuple[Any, None]:
    return jax.tree.map(jnp.add, total, function(params, part)), None

  total, _ = jax.lax.scan(add, zeros, parts)
  return jax.tree.map(lambda leaf: leaf / microbatches, total)


def _deal(rows: Any, parts: int) -> Any:
  """`[rows, ...]` to `[parts, rows / parts, ...]`.

  Rows are dealt out like cards, so that rows that are split over devices stay where
  they are: each device has its share of every part.
  """
  if rows.shape[0] % parts:
    raise ValueError(
      f'A batch of {rows.shape[0]} rows cannot be taken in {parts} parts of equal'
      ' size. Let `microbatches` divide the batch size.'
    )
  return rows.reshape(-1, parts, *rows.shape[1:]).swapaxes(0, 1)


def compile_step(
  step: StepFn,
  mesh: Mesh | None = None,
  state_sharding: Any = None,
  donate: bool = True,
  batch_sharding: Any = None,
) -> StepFn:
  """Compiles any step function, for trainers whose step is not plain descent.

  Args:
    step: `(state, batch) -> (state, metrics)`, pure.
    mesh: devices to run on. Without one, JAX's default device.
    state_sharding: as in `make_train_step`.
    donate: as in `make_train_step`.
    batch_sharding: a sharding, or a pytree of them that is a prefix of the batch. By
      default rows are split over the mesh's `data` axis.
  """
  donated = (0,) if donate else ()
  if mesh is None:
    return jax.jit(step, donate_argnums=donated)
  replicated = NamedSharding(mesh, PartitionSpec())
  state_sharding = replicated if state_sharding is None else state_sharding
  if batch_sharding is None:
    batch_sharding = NamedSharding(mesh, PartitionSpec(DATA))
  return jax.jit(
    step,
    in_shardings=(state_sharding, batch_sharding),
    out_shardings=(state_sharding, replicated),
    donate_argnums=donated,
  )


def place_batch(batch: Any, mesh: Mesh | None = None) -> Any:
  """Puts this process's part of a batch onto its devices.

  Args:
    batch: pytree of numpy arrays, each `[rows of this process, ...]`.
    mesh: the mesh of the step. Without one, JAX's default device.

  Returns:
    A pytree of arrays `[rows of all processes, ...]`.
  """
  return jax.device_put(batch) if mesh is None else shard_batch(mesh, batch)
