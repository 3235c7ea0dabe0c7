"""What a sweep puts in the place of an activation: another run's, or nothing's.

Patching takes the activations of a paired input. The ablations here need no such input:
they are made of the base run itself.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool
import numpy as np

from interp_jax.circuits.worlds import reference_run
from interp_jax.core import SITES, Model, Tokens, unknown


@runtime_checkable
class Ablation(Protocol):
  """What makes a value of the base run's own activation."""

  def value(
    self,
    act: jax.Array,
    letters: Sequence[str],
    mask: Bool[Array | np.ndarray, 'B T'] | None,
  ) -> Any:
    """The value, broadcastable to the activation, whose axes have these letters."""


@dataclasses.dataclass(frozen=True)
class Zero:
  """Zero ablation."""

  def value(self, act: jax.Array, letters: Sequence[str], mask: Any) -> Any:
    """Zero."""
    del letters, mask
    return jnp.zeros((), act.dtype)


@dataclasses.dataclass(frozen=True)
class Mean:
  """Mean ablation, over the batch and its positions; padding is left out.

  Attributes:
    by_position: Whether each position has its own mean over the batch, as sites whose
      last axis is of key positions always have.
  """

  by_position: bool = False

  def value(self, act: jax.Array, letters: Sequence[str], mask: Any) -> Any:
    """The mean."""
    axes = [letters.index('B')]
    if not self.by_position and 'S' not in letters:
      axes.append(letters.index('T'))
    if mask is None:
      return act.mean(axes, keepdims=True)
    shape = [act.shape[i] if letter in 'BT' else 1 for i, letter in enumerate(letters)]
    weights = jnp.asarray(mask).reshape(shape).astype(act.dtype)
    total = weights.sum(axes, keepdims=True)
    masked = jnp.where(weights > 0, act, 0)
    return masked.sum(axes, keepdims=True) / jnp.maximum(total, 1)


@dataclasses.dataclass(frozen=True)
class Resample:
  """Resample ablation: every example gets the activation of another one of the batch.

  Attributes:
    seed: Of the permutation, which leaves no example in its place.
  """

  seed: int = 0

  def value(self, act: jax.Array, letters: Sequence[str], mask: Any) -> Any:
    """The activation with its rows permuted.

    Raises:
      ValueError: if there is only one example.
    """
    del mask
    axis = letters.index('B')
    rows = act.shape[axis]
    if rows < 2:
      raise ValueError(
        'Resample takes the activations of other examples of the batch, which has one. '
        'Give several, or the tokens to resample from as source.'
      )
    order = np.random.default_rng(self.seed).permutation(rows)
    other = np.empty(rows, int)
    other[order] = np.roll(order, 1)  # One cycle through all rows.
    return jnp.take(act, other, axis=axis)


ABLATIONS: Mapping[str, Ablation] = {
  'zero': Zero(),
  'mean': Mean(),
  'resample': Resample(),
}


def find_ablation(source: Any) -> Ablation | None:
  """The ablation that a source is, by itself or by name; None if it is none.

  Raises:
    ValueError: if there is none of that name.
  """
  if isinstance(source, str):
    if source not in ABLATIONS:
      raise ValueError(unknown('ablation', source, ABLATIONS))
    return ABLATIONS[source]
  return source if isinstance(source, Ablation) else None


def mean_acts(
  model: Model,
  params: Any,
  tokens: Tokens,
  sites: Sequence[str],
  mask: Bool[Array | np.ndarray, 'B T'] | None = None,
  by_position: bool = False,
) -> dict[str, Array]:
  """Mean activations over a batch of other inputs, as a source for mean ablation.

  Args:
    model: The model.
    params: Its parameters.
    tokens: The inputs.
    sites: Which activations.
    mask: False at padding.
    by_position: Whether each position has its own mean.

  Returns:
    Site → mean, which broadcasts to the activations.
  """
  kwargs: dict[str, Any] = {} if mask is None else {'mask': jnp.asarray(mask)}
  _, acts = reference_run(model, params, jnp.asarray(tokens), _nothing, sites, **kwargs)
  mean = Mean(by_position)
  return {site: mean.value(acts[site], SITES[site].full_axes, mask) for site in acts}


def _nothing(logits, acts):
  del logits, acts
  return jnp.zeros(())
