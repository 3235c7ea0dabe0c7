"""Edges between features of dictionaries, estimated by gradients.

Marks et al. 2024, "Sparse feature circuits" (arXiv:2403.19647). Two dictionaries are
read at two places of the model. The effect of an upstream feature by way of a
downstream one is the gradient of the metric at the downstream feature, times the
gradient of that feature at the upstream one, times the upstream feature's difference
between the runs. What a dictionary does not reconstruct is kept and held constant.
"""

from collections.abc import Iterable
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from interp_jax import edits as edits_lib
from interp_jax.circuits.arguments import as_arrays, as_pytree
from interp_jax.circuits.attribution import check_run
from interp_jax.circuits.metrics import Metric
from interp_jax.circuits.worlds import output_shapes
from interp_jax.core import SITES, Model, Tokens


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FeaturePlace:
  """Where a dictionary is read.

  Attributes:
    site: The site's name.
    layer: The layer; None at a site outside the layers.
    dictionary: The dictionary of that activation, a `Dictionary`.
  """

  site: str = dataclasses.field(metadata={'static': True})
  layer: int | None = dataclasses.field(metadata={'static': True})
  dictionary: Any = None


@dataclasses.dataclass(frozen=True)
class FeatureEdges:
  """Estimated effects of features on the metric.

  Attributes:
    upstream: Indices of the upstream features, `[U]`.
    downstream: Indices of the downstream features, `[N]`.
    upstream_effects: Effect of each upstream feature by all paths, `[U]`.
    downstream_effects: Effect of each downstream feature, `[N]`.
    edges: Effect of each upstream feature by way of each downstream one, `[N, U]`.
  """

  upstream: np.ndarray
  downstream: np.ndarray
  upstream_effects: np.ndarray
  downstream_effects: np.ndarray
  edges: np.ndarray


def feature_edges(
  model: Model,
  params: Any,
  clean: Tokens,
  corrupt: Int[Array | np.ndarray, 'B T'] | None,
  upstream: FeaturePlace,
  downstream: FeaturePlace,
  metric: Metric,
  *,
  count: int = 32,
  upstream_features: Iterable[int] | None = None,
  downstream_features: Iterable[int] | None = None,
  **kwargs: Any,
) -> FeatureEdges:
  """Estimates the effects of features, and of features by way of later features.

  It costs a forward-and-backward pass for each downstream feature, and three more.

  Args:
    model: The model.
    params: Its parameters.
    clean: Tokens of the clean run.
    corrupt: Tokens of the corrupted run; None to take features to zero instead.
    upstream: Where the earlier dictionary is read.
    downstream: Where the later dictionary is read.
    metric: A number, of logits and acts.
    count: How many features of each to take: those of the largest effects.
    upstream_features: Indices of features to take instead.
    downstream_features: Indices of features to take instead.
    **kwargs: Passed to the model: `mask`, `logit_positions`.

  Returns:
    The effects, summed over batch and positions: estimates of
    `metric(features corrupted) - metric(clean)`.

  Raises:
    ValueError: if the model has no such site, the downstream place is not the later
      one, or the metric is not a single number.
  """
  clean, metric, kwargs = jnp.asarray(clean), as_pytree(metric), as_arrays(kwargs)
  sites = (upstream.site, downstream.site)
  check_run(
    model, params, clean, clean if corrupt is None else corrupt, metric, sites, kwargs
  )
  _check_order(model, params, clean, upstream, downstream, kwargs)
  other = None if corrupt is None else jnp.asarray(corrupt)
  args = (params, clean, other, metric, kwargs)
  node = functools.partial(_node_effects, model, *args)
  up, down = node(upstream), node(downstream)
  picked_up = _picked(upstream_features, up[0], count)
  picked_down = _picked(downstream_features, down[0], count)
  edges = _edges(model, *args, upstream, downstream, down[1], jnp.asarray(picked_down))
  return FeatureEdges(
    picked_up,
    picked_down,
    np.asarray(up[0])[picked_up],
    np.asarray(down[0])[picked_down],
    np.asarray(edges)[:, picked_up],
  )


def _check_order(
  model: Model,
  params: Any,
  clean: Any,
  up: FeaturePlace,
  down: FeaturePlace,
  kwargs: Any,
) -> None:
  _, shapes = output_shapes(model, params, clean, **kwargs)
  for place in (up, down):
    layered = SITES[place.site].layered
    layers = shapes[place.site].shape[0] if layered else 0
    if layered and not (place.layer is not None and 0 <= place.layer < layers):
      raise ValueError(
        f'{place.site!r} needs a layer from 0 to {layers - 1}; got {place.layer}.'
      )
    if not layered and place.layer is not None:
      raise ValueError(f'{place.site!r} is outside the layers: its layer is None.')
  names = list(SITES)
  order = lambda p: (-1 if p.layer is None else p.layer, names.index(p.site))
  if None not in (up.layer, down.layer) and order(up) >= order(down):
    raise ValueError(
      f'The downstream place, {down.site} of layer {down.layer}, is not later than the '
      f'upstream one, {up.site} of layer {up.layer}.'
    )


def _picked(given: Iterable[int] | None, effects: Any, count: int) -> np.ndarray:
  if given is not None:
    return np.asarray(list(given), int)
  return np.sort(np.argsort(-np.abs(np.asarray(effects)), kind='stable')[:count])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Moved:
  """A dictionary's reconstruction after something is added to the features."""

  dictionary: Any
  delta: Any

  def __call__(self, act: Any) -> Any:
    return self.dictionary.decode(self.dictionary.encode(act) + self.delta)


def _splice(place: FeaturePlace, delta: jax.Array) -> dict[str, edits_lib.Edit]:
  plain = _Moved(place.dictionary, jnp.zeros_like(delta))
  splice = edits_lib.Splice(
    _Moved(place.dictionary, delta), place.layer, error_of=plain, keep_error=True
  )
  return {place.site: splice}


def _features(place: FeaturePlace, acts: Any) -> jax.Array:
  act = acts[place.site]
  return place.dictionary.encode(act if place.layer is None else act[place.layer])


def _gap(model, params, clean, corrupt, kwargs, place):
  """Corrupted less clean features, `[B, T, ..., F]`."""
  variables = {'params': params}
  own = _features(place, model.apply(variables, clean, **kwargs)[1])
  if corrupt is None:
    return -own
  return _features(place, model.apply(variables, corrupt, **kwargs)[1]) - own


def _summed(values: jax.Array) -> Float[Array, ' F']:
  return values.reshape(-1, values.shape[-1]).sum(0)


@functools.partial(jax.jit, static_argnums=0)
def _node_effects(model, params, clean, corrupt, metric, kwargs, place):
  """Each feature's effect `[F]`, and the gradient at it `[B, T, ..., F]`."""
  gap = _gap(model, params, clean, corrupt, kwargs, place)

  def measure(delta):
    edits = _splice(place, delta)
    return metric(*model.apply({'params': params}, clean, edits, **kwargs))

  grad = jax.grad(measure)(jnp.zeros_like(gap))
  return _summed(grad * gap), grad


@functools.partial(jax.jit, static_argnums=0)
def _edges(model, params, clean, corrupt, metric, kwargs, up, down, grad, picked):
  """The effects `[N, F]` of all upstream features by way of picked downstream ones."""
  del metric
  gap = _gap(model, params, clean, corrupt, kwargs, up)

  def downstream(delta):
    edits = _splice(up, delta)
    return _features(down, model.apply({'params': params}, clean, edits, **kwargs)[1])

  _, pull = jax.vjp(downstream, jnp.zeros_like(gap))

  def one(feature):
    here = jnp.arange(grad.shape[-1]) == feature
    return _summed(pull(jnp.where(here, grad, 0))[0] * gap)

  return jax.lax.map(one, picked)
