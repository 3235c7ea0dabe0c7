"""Training on data that the step draws itself, many small models at a time.

Toy models see endless synthetic data, and a step of one takes microseconds: to make
batches on the host and to dispatch every update would take longer than to compute it.
Here a batch is a list of update numbers; the step makes a key of each, the loss draws
its data from the key, and all updates of a call are one scan:

    step = make_drawn_step(loss_fn, optimizer, seed=0, worlds=10)
    state = worlds_state(params, optimizer)  # Leaves of `params` lead with [W].
    fit(state, compile_step(step), Updates(per_call=20), config, workdir)

Worlds (seeds, instances, the points of a grid) are a leading axis of every leaf. Each
has an optimizer of its own, its clipping too: W worlds are W runs.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import optax

from interp_jax.training.state import TrainState, create_state
from interp_jax.training.step import Metrics, StepFn, descend

DrawnLossFn = Callable[[Any, jax.Array], tuple[Any, Metrics]]
"""`(params, key) -> (loss, metrics)`: a loss of data that is drawn from the key."""


class Updates(Iterator[Any]):
  """The batches of such a run: numbers of updates, `[per_call]`, from 0 on."""

  def __init__(self, per_call: int):
    """Starts at update 0.

    Args:
      per_call: updates of one call of the step.

    Raises:
      ValueError: if there are none.
    """
    if per_call < 1:
      raise ValueError(f'per_call={per_call}: give at least one update to a call.')
    self._per_call = per_call
    self._next = 0

  def __next__(self) -> np.ndarray:
    numbers = np.arange(self._next, self._next + self._per_call, dtype=np.int32)
    self._next += self._per_call
    return numbers

  def get_state(self) -> dict[str, int]:
    """The number of the next update."""
    return {'next': self._next}

  def set_state(self, state: dict[str, int]) -> None:
    """Goes on from there."""
    self._next = int(state['next'])


def worlds_state(params: Any, optimizer: optax.GradientTransformation) -> TrainState:
  """The state of many runs before their first step.

  Args:
    params: pytree of arrays `[W, ...]`.
    optimizer: the gradient transformation that every run uses.
  """
  return jax.vmap(lambda own: create_state(own, optimizer))(params)


def make_drawn_step(
  loss_fn: DrawnLossFn,
  optimizer: optax.GradientTransformation,
  seed: int,
  *,
  worlds: int | None = None,
  shared_data: bool = False,
) -> StepFn:
  """A step `(state, update numbers) -> (state, metrics)`, not yet compiled.

  Metrics are means over the updates of the call: scalars, or `[W]` with worlds.

  Args:
    loss_fn: the loss of one world, which must average over its batch.
    optimizer: turns gradients into updates.
    seed: of the data.
    worlds: how many models are trained at once; None for one, without a leading axis.
    shared_data: whether all worlds see the same data, which is cheaper to draw.
  """

  def update(state: Any, number: Any) -> tuple[Any, Metrics]:
    key = jax.random.fold_in(jax.random.key(seed), number)
    if worlds is None:
      return descend(loss_fn, optimizer, state, key)
    one = lambda state, key: descend(loss_fn, optimizer, state, key)
    if shared_data:
      return jax.vmap(one, in_axes=(0, None))(state, key)
    return jax.vmap(one)(state, jax.random.split(key, worlds))

  def step(state: Any, numbers: Any) -> tuple[Any, Metrics]:
    state, metrics = jax.lax.scan(update, state, numbers)
    return state, jax.tree.map(lambda metric: metric.mean(0), metrics)

  return step
