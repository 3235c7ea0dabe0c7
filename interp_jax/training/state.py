"""The state of a training run: what a step takes and gives back."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax


@flax.struct.dataclass
class TrainState:
  """What changes from step to step.

  Attributes:
    step: int32 scalar, the number of updates made.
    params: pytree of parameters.
    opt_state: the optimizer's state.
  """

  step: Any
  params: Any
  opt_state: Any


def create_state(params: Any, optimizer: optax.GradientTransformation) -> TrainState:
  """The state before the first step.

  Args:
    params: pytree of arrays.
    optimizer: the gradient transformation that the run will use.
  """
  return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))


def abstract_state(state: Any) -> Any:
  """Shapes, dtypes and shardings of a state: what a checkpoint is restored onto."""

  def describe(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)

  return jax.tree.map(describe, state)
