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
from interp_jax.circuits.metrics import Metric, as_pytree
from interp_jax.circuits.patches import as_arrays
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
  acts = gradient_and_gap(model, sites, params, clean, corrupt, metric, kwargs)
  return {site: label(site, grad * gap, units) for site, (grad, gap, _) in acts.items()}


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


@functools.partial(jax.jit, static_argnums=(0, 1))
def gradient_and_gap(
  model: Model,
  sites: tuple[str, ...],
  params: Any,
  clean: Any,
  corrupt: Any,
  metric: Any,
  kwargs: dict[str, Any],
  edits: Any = None,
) -> dict[str, tuple[Array, Array, Array]]:
  """Site → the metric's gradient, corrupted less clean, and the clean activation.

  Args:
    model: The model.
    sites: The sites.
    params: Its parameters.
    clean: Tokens of the clean run.
    corrupt: Tokens of the corrupted run, or site → activations.
    metric: A number, of logits and acts; a pytree.
    kwargs: Passed to the model.
    edits: Edits of the run whose gradient is taken.

  Returns:
    Three arrays of the activation's shape for each site.
  """
  variables = {'params': params}
  if isinstance(corrupt, Mapping):
    other = corrupt
  else:
    other = model.apply(variables, corrupt, **kwargs)[1]
  own = model.apply(variables, clean, **kwargs)[1]

  def measure(deltas):
    added = {site: edits_lib.Add(delta) for site, delta in deltas.items()}
    # What is added is seen by the edits: where one sets a value, it has no effect.
    both = edits_lib.compose(added, edits)
    return metric(*model.apply(variables, clean, both, **kwargs))

  grads = jax.grad(measure)({site: jnp.zeros_like(own[site]) for site in sites})
  # Where both are -inf (masked scores) nothing differs.
  gap = lambda a, b: jnp.where(a == b, 0, jnp.broadcast_to(a, b.shape) - b)
  return {
    site: (grads[site], gap(jnp.asarray(other[site]), own[site]), own[site])
    for site in sites
  }
