"""Activations: from what the encoder computes to codes.

One of the three choices that make a dictionary, with `wiring` and `objective`. An
activation is a frozen dataclass, so that it can be part of a config, be hashed by `jit`
and be written as JSON. It owns the encoder's parameters of shape `C`, one number a
feature: biases, thresholds, gates.

With `lin [B, *C]` the inputs times the encoder, and `pre = lin + b_enc`:

    relu       max(pre, 0)
    gated      [lin + b_gate > 0] max(exp(r_mag) lin + b_mag, 0)
    jumprelu   pre where pre > threshold
    topk       max(pre, 0) of the k largest pre of an example
    abstopk    pre of the k largest |pre| of an example
    batchtopk  max(pre, 0) of the k B largest pre of a batch of B
    groupmax   max(pre, 0) of the largest pre of each of k groups of neighbours
"""

from collections.abc import Mapping
import dataclasses
import math
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from interp_jax.core import known, unknown
from interp_jax.dictionaries import kernels, ste
from interp_jax.dictionaries.codes import (
  Codes,
  SparseCodes,
  per_feature,
  values_of,
  with_values,
)

if TYPE_CHECKING:
  from interp_jax.dictionaries.wirings import Wiring

Params = dict[str, Any]
Shape = tuple[int, ...]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Encoded:
  """What encoding gives: codes, and what terms of the objective ask for.

  Attributes:
    codes: Dense `[B, *C]`, `SparseCodes` or `Pairs`.
    pre: Pre-activations, dense or of the same `Pairs`; None where they are not kept.
    gate: The rectified gate `max(lin + b_gate, 0)` of gated activations, laid out as
      the codes, or None.
  """

  codes: Codes
  pre: Any = None
  gate: Any = None


@dataclasses.dataclass(frozen=True)
class Plan:
  """How the arithmetic is done: changes nothing but rounding.

  Attributes:
    impl: `'sparse'` or `'dense'`, as `kernels.resolve` gives it.
    mesh: The mesh that features are split over, or None.
    limit: How many of the k features stay active: a traced number for sweeps over k;
      None for all of them.
    known: The pre-activations, where they were computed before (`kernels.look`).
  """

  impl: str = 'dense'
  mesh: Any = None
  limit: Any = None
  known: Any = None

  @property
  def sparse(self) -> bool:
    """Whether sparse kernels may be used on whole arrays."""
    return self.impl == 'sparse' and self.mesh is None


@dataclasses.dataclass(frozen=True)
class _Activation:
  """What all activations share: a bias, and dense codes of any number of features.

  Attributes:
    signed: Whether codes may be negative.
    counted: Whether nothing but the data says how many features are active, so that
      `live` is asked.
  """

  signed: ClassVar[bool] = False
  counted: ClassVar[bool] = False

  @property
  def sparse_k(self) -> int | None:
    """The number of active features where it is fixed, else None."""
    return None

  def init(self, shape: Shape) -> Params:
    """The parameters of shape `C` before training."""
    return {'b_enc': jnp.zeros(shape)}

  def check(self, features: int) -> None:
    """Raises ValueError where the activation does not fit so many features."""

  def scale_features(self, params: Params, factors: Any) -> Params:
    """Biases and thresholds of pre-activations times positive factors.

    Args:
      params: The parameters.
      factors: One for each feature, `[*C]`, or one for all; the codes are then times
        these, too.
    """
    return params | {'b_enc': params['b_enc'] * factors}

  def bias(self, params: Params) -> Array:
    """What is added to `lin` before anything else."""
    return params['b_enc']

  def live(self, params: Params, pre: Array) -> Array:
    """Where a code, or the gradient of one, is not 0.

    Args:
      params: The dictionary's parameters.
      pre: `lin + bias`, `[B, *C]`.
    """
    raise NotImplementedError

  def encode(self, wiring: 'Wiring', params: Params, x: Array, plan: Plan) -> Encoded:
    """The codes of a batch.

    Args:
      wiring: Computes `lin`.
      params: The dictionary's parameters.
      x: Inputs `[B, *in]`.
      plan: How to compute.

    Returns:
      The codes, and what else is known then.
    """
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class ReLU(_Activation):
  """As many features as are positive. Needs a sparsity objective."""

  counted: ClassVar[bool] = True
  name: ClassVar[str] = 'relu'

  def live(self, params: Params, pre: Array) -> Array:
    return pre > 0

  def encode(self, wiring: 'Wiring', params: Params, x: Array, plan: Plan) -> Encoded:
    pre = wiring.project(params, x, self.bias(params), plan)
    return Encoded(with_values(pre, jax.nn.relu(values_of(pre))), pre)


@dataclasses.dataclass(frozen=True)
class Gated(_Activation):
  """A gate says whether, a magnitude how much (Rajamanoharan et al. 2024, 2404.16014).

  The two share the encoder up to a scale: `W_mag = exp(r_mag) W_gate`. Needs the term
  `gate` and a sparsity term, which is then taken of the rectified gate.
  """

  counted: ClassVar[bool] = True
  name: ClassVar[str] = 'gated'

  def init(self, shape: Shape) -> Params:
    return {name: jnp.zeros(shape) for name in ('b_gate', 'b_mag', 'r_mag')}

  def scale_features(self, params: Params, factors: Any) -> Params:
    return params | {name: params[name] * factors for name in ('b_gate', 'b_mag')}

  def bias(self, params: Params) -> Array:
    return jnp.zeros_like(params['b_gate'])

  def live(self, params: Params, pre: Array) -> Array:
    return pre + params['b_gate'] > 0

  def encode(self, wiring: 'Wiring', params: Params, x: Array, plan: Plan) -> Encoded:
    lin = wiring.project(params, x, self.bias(params), plan)
    values, own = values_of(lin), lambda name: per_feature(lin, params[name])
    gate = values + own('b_gate')
    pre = jnp.exp(own('r_mag')) * values + own('b_mag')
    codes = jnp.where(gate > 0, jax.nn.relu(pre), 0)
    return Encoded(*(with_values(lin, v) for v in (codes, pre, jax.nn.relu(gate))))


@dataclasses.dataclass(frozen=True)
class JumpReLU(_Activation):
  """`pre` where it is above a learned threshold (Rajamanoharan et al. 2024).

  The thresholds are learned through straight-through estimators, see `ste`. They are
  held directly, not as logarithms: Adam moves a parameter by about the learning rate,
  which would barely move a small threshold.

  Attributes:
    init_threshold: What thresholds start at.
    bandwidth: Width of the estimator's rectangle, in units of pre-activations.
    to_input: Whether pre-activations get the estimator's gradient, too.
  """

  init_threshold: float = 0.01
  bandwidth: float = 0.05
  to_input: bool = False
  counted: ClassVar[bool] = True
  name: ClassVar[str] = 'jumprelu'

  def init(self, shape: Shape) -> Params:
    return super().init(shape) | {'threshold': jnp.full(shape, self.init_threshold)}

  def check(self, features: int) -> None:
    if not (self.bandwidth > 0 and self.init_threshold >= 0):
      raise ValueError(
        f'JumpReLU: bandwidth={self.bandwidth} must be positive and init_threshold='
        f'{self.init_threshold} not negative.'
      )

  def scale_features(self, params: Params, factors: Any) -> Params:
    return params | {name: params[name] * factors for name in ('b_enc', 'threshold')}

  def live(self, params: Params, pre: Array) -> Array:
    # Below the estimator's window nothing happens; above it there is a code.
    return pre - params['threshold'].astype(pre.dtype) > -self.bandwidth / 2

  def encode(self, wiring: 'Wiring', params: Params, x: Array, plan: Plan) -> Encoded:
    pre = wiring.project(params, x, self.bias(params), plan)
    values = values_of(pre)
    threshold = per_feature(pre, params['threshold']).astype(values.dtype)
    codes = ste.jump(values, threshold, self.bandwidth, self.to_input)
    return Encoded(with_values(pre, codes), pre)


@dataclasses.dataclass(frozen=True)
class TopK(_Activation):
  """Keeps the k largest pre-activations, rectified (Makhzani & Frey 2013, 1312.5663).

  As in Gao et al. 2024 (2406.04093): exactly k features are kept, and those that are
  negative are zero.

  Attributes:
    k: How many features to keep; of each layer, where layers have codes of their own.
    by_norm: Whether pre-activations are compared times the norms of the decoder's
      rows, as they would be with rows of norm 1. It changes nothing under the unit-norm
      constraint.
  """

  k: int = 32
  by_norm: bool = False
  name: ClassVar[str] = 'topk'

  @property
  def sparse_k(self) -> int | None:
    return self.k

  def check(self, features: int) -> None:
    if not 1 <= self.k <= features:
      raise ValueError(
        f'{type(self).__name__}: k={self.k} of {features} features. Choose k between 1 '
        f'and {features}.'
      )

  def encode(self, wiring: 'Wiring', params: Params, x: Array, plan: Plan) -> Encoded:
    norms = jax.lax.stop_gradient(wiring.norms(params)) if self.by_norm else None
    codes = wiring.top(params, x, self.k, plan, norms)
    return Encoded(_limited(codes, plan.limit))


@dataclasses.dataclass(frozen=True)
class AbsTopK(TopK):
  """Keeps the k pre-activations of largest magnitude, with their signs (2510.00404).

  A feature then stands for a direction both ways.
  """

  name: ClassVar[str] = 'abstopk'
  signed: ClassVar[bool] = True

  def encode(self, wiring: 'Wiring', params: Params, x: Array, plan: Plan) -> Encoded:
    pre = wiring.project(params, x, params['b_enc'], plan)
    size = jnp.abs(pre)
    if self.by_norm:
      size = size * jax.lax.stop_gradient(wiring.norms(params))
    _, indices = kernels.select(size.reshape(-1, pre.shape[-1]), self.k)
    indices = indices.reshape(*pre.shape[:-1], self.k)
    values = jnp.take_along_axis(pre, indices, -1)
    return Encoded(_limited(SparseCodes(values, indices), plan.limit), pre)


@dataclasses.dataclass(frozen=True)
class BatchTopK(_Activation):
  """Keeps the k B largest pre-activations of a batch of B (Bussmann et al. 2024).

  An example may use more or fewer than k features. What is trained depends on the
  batch; what is saved must not, so training keeps a running mean of the smallest active
  value, and the exported dictionary is a JumpReLU one with that threshold.

  Attributes:
    k: Mean number of active features of an example; of each layer, where layers have
      codes of their own, which then share the batch's.
    rate: Weight of the newest batch in the running threshold.
    by_norm: As in `TopK`.
    from_zero: Whether the running threshold starts at 0, as SAELens's does: it then
      lags behind for a few times `1 / rate` steps. Else it starts at the first batch's.
    since: Steps before the running threshold starts.
  """

  k: float | int = 32
  rate: float = 0.01
  by_norm: bool = False
  from_zero: bool = False
  since: int = 0
  name: ClassVar[str] = 'batchtopk'

  def check(self, features: int) -> None:
    if not 0 < self.k <= features:
      raise ValueError(
        f'BatchTopK: k={self.k} of {features} features. Choose k above 0 and at most '
        f'{features}.'
      )

  def encode(self, wiring: 'Wiring', params: Params, x: Array, plan: Plan) -> Encoded:
    norms = jax.lax.stop_gradient(wiring.norms(params)) if self.by_norm else None
    single: Any = wiring if len(wiring.code_shape(params)) == 1 else None
    if single and plan.sparse and plan.limit is None:
      count = math.floor(self.k * x.shape[0])
      return Encoded(single.top_of_batch(params, x, count, norms))
    pre = wiring.project(params, x, params['b_enc'], plan)
    compared = pre if norms is None else pre * norms
    k = self.k if plan.limit is None else plan.limit
    rows = compared.reshape(-1, compared.shape[-1])
    count = jnp.floor(jnp.asarray(k * len(rows))).astype(jnp.int32)
    keep = kernels.largest_of_batch(rows, count, plan.mesh).reshape(pre.shape)
    return Encoded(jnp.where(keep, jax.nn.relu(pre), 0), pre)


@dataclasses.dataclass(frozen=True)
class GroupMax(_Activation):
  """Keeps the largest pre-activation of each of k groups, rectified (sparsify).

  A group is `F / k` neighbouring features. It needs no selection over all features.

  Attributes:
    k: How many groups; it must divide the number of features.
  """

  k: int = 32
  name: ClassVar[str] = 'groupmax'

  @property
  def sparse_k(self) -> int | None:
    return self.k

  def check(self, features: int) -> None:
    if not 1 <= self.k <= features or features % self.k:
      raise ValueError(
        f'GroupMax: k={self.k} groups of {features} features. Choose a k that divides '
        f'{features}.'
      )

  def encode(self, wiring: 'Wiring', params: Params, x: Array, plan: Plan) -> Encoded:
    pre = jax.nn.relu(wiring.project(params, x, params['b_enc'], plan))
    grouped = pre.reshape(*pre.shape[:-1], self.k, -1)
    start = jnp.arange(self.k) * grouped.shape[-1]
    indices = start + jnp.argmax(grouped, -1)
    return Encoded(SparseCodes(grouped.max(-1), indices), pre)


Activation = ReLU | Gated | JumpReLU | TopK | AbsTopK | BatchTopK | GroupMax
ACTIVATIONS: Mapping[str, type] = {
  cls.name: cls for cls in (ReLU, Gated, JumpReLU, TopK, AbsTopK, BatchTopK, GroupMax)
}


def _limited(codes: Codes, limit: Any) -> Codes:
  """Sparse codes of which only the `limit` largest in size stay."""
  if limit is None:
    return codes
  # The rank of each: how many are larger, or equal and before it.
  order = jnp.argsort(-jnp.abs(codes.values), -1)
  rank = jnp.argsort(order, -1)
  return SparseCodes(jnp.where(rank < limit, codes.values, 0), codes.indices)


def to_dict(activation: Activation) -> dict[str, Any]:
  """The activation as plain data, e.g. `{'name': 'topk', 'k': 32}`."""
  return {'name': activation.name, **dataclasses.asdict(activation)}


def from_dict(data: Mapping[str, Any]) -> Activation:
  """The activation that `to_dict` wrote.

  Args:
    data: Its `name` and its attributes.

  Returns:
    The activation.

  Raises:
    ValueError: if there is no such activation or it has no such attribute.
  """
  given = dict(data)
  name = given.pop('name', None)
  if name not in ACTIVATIONS:
    raise ValueError(unknown('activation', name, ACTIVATIONS))
  cls = ACTIVATIONS[name]
  return cls(**known(cls, given, f'attribute of activation {name!r}'))
