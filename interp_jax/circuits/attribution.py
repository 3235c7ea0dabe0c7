"""Attribution patching: the effect of every activation, estimated by one gradient.

The effect of patching an activation of the corrupted run into the clean one is, to
first order, the difference of the two times the gradient of the metric (Nanda 2023,
"Attribution patching"). One backward pass gives it for every site at once.
"""

from collections.abc import Iterable, Mapping
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int
import numpy as np

from interp_jax import edits as edits_lib
from interp_jax.circuits.arguments import as_arrays, as_pytree
from interp_jax.circuits.metrics import Metric
from interp_jax.circuits.worlds import output_shapes
from interp_jax.core import Model, Tokens, get_site, unknown

# The axes that hold no component of their own: an effect is the sum over them.
UNIT_AXES = 'DKM1'


@dataclasses.dataclass(frozen=True)
class Attribution:
  """Estimated effects on the metric of patching each component of a site.

  Attributes:
    site: The site.
    axes: Names of the axes of `values`, e.g. `('layer', 'batch', 'position', 'head')`.
    values: The effects. Summed over an axis, they estimate patching all along it.
  """

  site: str
  axes: tuple[str, ...]
  values: np.ndarray

  def over(self, *axes: str) -> np.ndarray:
    """The effects over some axes, summed over the others.

    Args:
      *axes: Names of axes, in the order wanted, e.g. `'layer', 'head'`.

    Returns:
      The effects, estimates of a sweep over these axes.

    Raises:
      ValueError: if there is no such axis.
    """
    for axis in axes:
      if axis not in self.axes:
        raise ValueError(unknown(f'axis of {self.site!r}', axis, self.axes))
    others = tuple(i for i, axis in enumerate(self.axes) if axis not in axes)
    left = [axis for axis in self.axes if axis in axes]
    return self.values.sum(others).transpose([left.index(axis) for axis in axes])


def attribution_patching(
  model: Model,
  params: Any,
  clean: Tokens,
  corrupt: Int[Array | np.ndarray, 'B T'] | Mapping[str, Any],
  metric: Metric,
  sites: Iterable[str] = ('resid_pre', 'attn_out', 'mlp_out', 'z'),
  *,
  units: bool = False,
  **kwargs: Any,
) -> dict[str, Attribution]:
  """Estimates the effect of patching each activation of the corrupted run.

  Args:
    model: The model.
    params: Its parameters.
    clean: Tokens of the clean run, which is patched into.
    corrupt: Tokens of the corrupted run, or site → activations that broadcast.
    metric: A number, of logits and acts.
    sites: The sites.
    units: Whether to keep the axis of units (`D`, `K` or `M`), or sum over it.
    **kwargs: Passed to the model: `mask`, `logit_positions`.

  Returns:
    Site → effects, estimates of `metric(patched) - metric(clean)`.

  Raises:
    ValueError: if the model has no such site, tokens do not fit each other, or the
      metric is not a single number.
  """
  clean, metric, sites = jnp.asarray(clean), as_pytree(metric), tuple(sites)
  kwargs = as_arrays(kwargs)
  check_run(model, params, clean, corrupt, metric, sites, kwargs)
  effects = _effects(model, sites, params, clean, corrupt, metric, kwargs)
  return {site: label(site, values, units) for site, values in effects.items()}


def check_run(
  model: Model,
  params: Any,
  clean: Any,
  corrupt: Any,
  metric: Metric,
  sites: tuple[str, ...],
  kwargs: Mapping[str, Any],
) -> None:
  """Refuses what cannot be attributed, before anything runs.

  Raises:
    ValueError: if the model has no such site, tokens do not fit each other, or the
      metric is not a single number.
  """
  logits, shapes = output_shapes(model, params, clean, **kwargs)
  for site in sites:
    if site not in shapes:
      raise ValueError(unknown('site of this model', site, shapes))
    if not jnp.issubdtype(shapes[site].dtype, jnp.inexact):
      raise ValueError(f'{site!r} holds integers, which have no gradient.')
    if isinstance(corrupt, Mapping) and site not in corrupt:
      raise ValueError(
        unknown("site of the corrupted run's activations", site, corrupt)
      )
  if not isinstance(corrupt, Mapping) and np.shape(corrupt) != np.shape(clean):
    raise ValueError(
      f'The corrupted tokens have shape {np.shape(corrupt)}, the clean ones '
      f'{np.shape(clean)}: give tokens that align position by position, or activations '
      '(site → array).'
    )
  value = jax.eval_shape(metric, logits, shapes)
  if value.shape:
    raise ValueError(
      f'The metric has shape {value.shape}; attribution needs one number: take the '
      'mean over the batch.'
    )


def label(site: str, values: Any, units: bool = False) -> Attribution:
  """Effects with the names of their axes, summed over units unless those are wanted."""
  letters, values = get_site(site).full_axes, np.asarray(values)
  summed = tuple(i for i, axis in enumerate(letters) if axis in UNIT_AXES and not units)
  kept = [axis for i, axis in enumerate(letters) if i not in summed]
  names = tuple(edits_lib.AXIS_NAMES.get(axis, axis) for axis in kept)
  return Attribution(site, names, values.sum(summed))


def acts_of_both(
  model: Model, params: Any, clean: Any, corrupt: Any, kwargs: Mapping[str, Any]
) -> tuple[Mapping[str, Array], Mapping[str, Any]]:
  """The activations of the clean run and of the corrupted one, given or run."""
  own = model.apply({'params': params}, clean, **kwargs)[1]
  if isinstance(corrupt, Mapping):
    return own, corrupt
  return own, model.apply({'params': params}, corrupt, **kwargs)[1]


def gap(own: Array, other: Any) -> Array:
  """Corrupted less clean; 0 where both are -inf (masked scores)."""
  other = jnp.broadcast_to(other, own.shape)
  return jnp.where(other == own, 0, other - own)


def gradients(
  model: Model,
  params: Any,
  clean: Any,
  metric: Metric,
  kwargs: Mapping[str, Any],
  acts: Mapping[str, Array],
  edits: Any = None,
) -> dict[str, Array]:
  """The metric's gradient with respect to some activations.

  Args:
    model: The model.
    params: Its parameters.
    clean: Tokens of the run.
    metric: A number, of logits and acts.
    kwargs: Passed to the model.
    acts: Site → activation, or anything of its shape.
    edits: Edits of the run.

  Returns:
    Site → gradient.
  """

  def measure(deltas):
    added = {site: edits_lib.Add(delta) for site, delta in deltas.items()}
    # What is added is seen by the edits: where one sets a value, it has no effect.
    both = edits_lib.compose(added, edits)
    return metric(*model.apply({'params': params}, clean, both, **kwargs))

  return jax.grad(measure)({site: jnp.zeros_like(act) for site, act in acts.items()})


@functools.partial(jax.jit, static_argnums=(0, 1))
def _effects(model, sites, params, clean, corrupt, metric, kwargs):
  own, other = acts_of_both(model, params, clean, corrupt, kwargs)
  own = {site: own[site] for site in sites}
  grads = gradients(model, params, clean, metric, kwargs, own)
  return {site: grads[site] * gap(own[site], other[site]) for site in sites}
