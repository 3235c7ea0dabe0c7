"""The edits: what can be done to an activation on its way through the model.

An edit is a pytree. Its *addressed* fields (a value, a mask, ...) broadcast against
`acts[site]` (`[L, B, T, ...]` for a site inside the layers) by numpy's rules, so a
value without a layer axis serves every layer and `mask[:, None, None, None]` of a
vector over layers chooses layers. A mask of None means everywhere.
"""

import abc
import dataclasses
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp

_T = TypeVar('_T')


def addressed(extra_rank: int = 0, **kwargs: Any) -> Any:
  """A dataclass field that broadcasts against the activation.

  Args:
    extra_rank: Axes that the field has beyond the activation's own.
    **kwargs: As for `dataclasses.field`.

  Returns:
    The field.
  """
  return dataclasses.field(metadata={'extra_rank': extra_rank}, **kwargs)


@dataclass_transform(
  frozen_default=True, field_specifiers=(addressed, dataclasses.field)
)
def _edit(cls: type[_T]) -> type[_T]:
  return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True)(cls))


def _as(value: Any, act: jax.Array) -> jax.Array:
  return jnp.asarray(value, act.dtype)


def _where(mask: Any, edited: jax.Array, act: jax.Array) -> jax.Array:
  """Selects, never multiplies: a NaN in `edited` stays behind a False mask."""
  if mask is None:
    return jnp.broadcast_to(edited, act.shape)
  return jnp.where(mask, edited, act)


@dataclasses.dataclass(frozen=True)
class Edit(abc.ABC):
  """One thing to do to the activation of one site."""

  @abc.abstractmethod
  def apply(self, act: jax.Array, layer: jax.Array | None) -> jax.Array:
    """The edited activation.

    Args:
      act: The activation within one layer, e.g. `[B, T, D]`.
      layer: The index of the layer; None at a site outside the layers.

    Returns:
      An array of the shape and dtype of `act`.
    """


@_edit
class Replace(Edit):
  """Sets the activation to `value` where `mask` holds (the do-operator).

  Zero, mean and resample ablation and activation patching are this edit with another
  value. `mask` is boolean.
  """

  value: Any = addressed()
  mask: Any = addressed(default=None)

  def apply(self, act: jax.Array, layer: jax.Array | None) -> jax.Array:
    del layer
    return _where(self.mask, _as(self.value, act), act)


@_edit
class Add(Edit):
  """Adds `value` where `mask` holds: steering, and the zero delta of attribution."""

  value: Any = addressed()
  mask: Any = addressed(default=None)

  def apply(self, act: jax.Array, layer: jax.Array | None) -> jax.Array:
    del layer
    return _where(self.mask, act + _as(self.value, act), act)


@_edit
class Scale(Edit):
  """Multiplies by `factor` where `mask` holds."""

  factor: Any = addressed()
  mask: Any = addressed(default=None)

  def apply(self, act: jax.Array, layer: jax.Array | None) -> jax.Array:
    del layer
    # The factor is masked, not the product: a NaN in it reaches no gradient either.
    factor = _as(self.factor, act)
    factor = factor if self.mask is None else jnp.where(self.mask, factor, 1)
    return jnp.broadcast_to(act * factor, act.shape)


@_edit
class Interpolate(Edit):
  """Moves a share `weight` of the way to `value`: `act + weight (value - act)`.

  The differentiable cousin of `Replace`, for learned masks and integrated gradients.
  `value` must be finite where `act` is read: a product carries NaN through weight 0.
  """

  value: Any = addressed()
  weight: Any = addressed()

  def apply(self, act: jax.Array, layer: jax.Array | None) -> jax.Array:
    del layer
    moved = act + _as(self.weight, act) * (_as(self.value, act) - act)
    return jnp.broadcast_to(moved, act.shape)


@_edit
class ProjectOut(Edit):
  """Removes the part of the activation inside a subspace of its last axis.

  `basis` has orthonormal rows, `[..., R, X]` with X the last axis of the site; axes
  before R broadcast against the activation's axes but the last. `project_out` makes
  the basis from any directions.
  """

  basis: Any = addressed(extra_rank=1)
  mask: Any = addressed(default=None)

  def apply(self, act: jax.Array, layer: jax.Array | None) -> jax.Array:
    del layer
    basis = _as(self.basis, act)
    part = jnp.einsum('...x,...rx->...r', act, basis)
    inside = jnp.einsum('...r,...rx->...x', part, basis)
    return _where(self.mask, act - inside, act)


@_edit
class Clamp(Edit):
  """Clips the activation to `[low, high]` where `mask` holds; None: no bound."""

  low: Any = addressed(default=None)
  high: Any = addressed(default=None)
  mask: Any = addressed(default=None)

  def apply(self, act: jax.Array, layer: jax.Array | None) -> jax.Array:
    del layer
    clipped = act
    if self.low is not None:
      clipped = jnp.maximum(clipped, _as(self.low, act))
    if self.high is not None:
      clipped = jnp.minimum(clipped, _as(self.high, act))
    return _where(self.mask, clipped, act)


@_edit
class Splice(Edit):
  """Sends the activation of one layer through a callable pytree, e.g. a dictionary.

  With `keep_error` the output is `fn(x) + (x - error_of(x))` with the error held
  constant for gradients: the forward pass is then the model's own unless `fn` differs
  from `error_of` (a dictionary with a feature ablated, say).

  Attributes:
    fn: A callable pytree, activation to activation of the same shape.
    layer: The layer whose activation is spliced; None at a site outside the layers.
    mask: Where to splice.
    error_of: The callable whose error is kept; None for `fn` itself.
    keep_error: Whether to add the error term.
  """

  fn: Any  # Annotated loosely, as trees of edits may hold None in its place.
  layer: Any = None
  mask: Any = addressed(default=None)
  error_of: Any = None
  keep_error: bool = dataclasses.field(default=False, metadata={'static': True})

  def apply(self, act: jax.Array, layer: jax.Array | None) -> jax.Array:
    if (self.layer is None) != (layer is None):
      where = 'inside the layers needs' if self.layer is None else 'outside takes no'
      raise ValueError(f'Splice: layer is {self.layer!r}; a site {where} layer.')
    if layer is None:
      return self._spliced(act)
    # A conditional, so that only the chosen layer pays for the callable.
    return jax.lax.cond(layer == self.layer, self._spliced, lambda x: x, act)

  def _spliced(self, act: jax.Array) -> jax.Array:
    out = self.fn(act)
    if out.shape != act.shape:
      raise ValueError(
        f'Splice: fn gave shape {out.shape} for an activation of shape {act.shape}; '
        'it must keep the shape.'
      )
    if self.keep_error:
      known = out if self.error_of is None else self.error_of(act)
      out = out + jax.lax.stop_gradient(act - known)
    return _where(self.mask, _as(out, act), act)
