"""Restarts: a world computes only what its edits change, the rest is the base run's.

An edit at layer l leaves every earlier layer as in the base run, an edit at position p
of a causal model every earlier position. A restarted world starts from the base run's
residual stream before layer l, at position p, and attends to the base run's keys and
values of the positions before.
"""

from collections.abc import Mapping
import dataclasses
import inspect
from typing import Any

import jax
import jax.numpy as jnp

from interp_jax import edits as edits_lib
from interp_jax.circuits.metrics import Metric, TokenMetric
from interp_jax.core import SITES, Acts, Model

# The sites that a run from a residual stream does not pass.
_ENTRANCE = frozenset(list(SITES)[: list(SITES).index('resid_pre')])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Base:
  """The run that worlds differ from.

  Attributes:
    tokens: Its tokens, `[B, T]`.
    kwargs: What the model is given besides: `mask`, `logit_positions`.
    edits: Edits of the run itself, that every world has too; or None.
    acts: Site → activation: what restarts need, and what the metric reads.
    logits: Its logits, where the metric reads those of positions that are not run; or
      None.
  """

  tokens: Any
  kwargs: Any
  edits: Any = None
  acts: Any = None
  logits: Any = None


def accepts(model: Model, name: str) -> bool:
  """Whether a model takes a keyword argument: by its `__call__`, or its `apply`."""
  call: Any = model if callable(model) else model.apply
  parameters = inspect.signature(call).parameters
  kinds = {parameter.kind for parameter in parameters.values()}
  return name in parameters or inspect.Parameter.VAR_KEYWORD in kinds


def restarts_at_layers(model: Model, shapes: Acts) -> bool:
  """Whether a model can be run from a layer on."""
  return 'resid_pre' in shapes and accepts(model, 'start') and accepts(model, 'resid')


def position_sites(model: Model, shapes: Acts) -> tuple[str, ...]:
  """The sites that a run from a position on needs; none where there is no such run."""
  sites = tuple(getattr(model, 'restart_sites', ()))
  possible = accepts(model, 'before') and set(sites) <= set(shapes)
  return sites if possible else ()


def is_entrance(site: str) -> bool:
  """Whether a site stands before the layers, so that its worlds run from the tokens."""
  return site in _ENTRANCE


def call(
  model: Model,
  params: Any,
  tokens: Any,
  edits: Any,
  kwargs: Mapping[str, Any],
  metric: Metric,
) -> tuple[jax.Array, Acts]:
  """The logits that a metric reads, and the activations."""
  kwargs = dict(kwargs)
  if isinstance(metric, TokenMetric) and accepts(model, 'logit_tokens'):
    kwargs['logit_tokens'] = metric.tokens
  return model.apply({'params': params}, tokens, edits, **kwargs)


def measure(model: Model, metric: Metric, logits: jax.Array, acts: Acts) -> jax.Array:
  """The metric of what `call` gave."""
  if isinstance(metric, TokenMetric) and accepts(model, 'logit_tokens'):
    return metric.of_tokens(logits, acts)
  return metric(logits, acts)


def run_world(
  model: Model,
  params: Any,
  metric: Metric,
  base: Base,
  edits: edits_lib.Edits,
  start: jax.Array | None,
  first: int,
) -> jax.Array:
  """The metric of one world.

  Args:
    model: The model.
    params: Its parameters.
    metric: What to measure.
    base: The base run.
    edits: What the world does besides the base run's own edits.
    start: The layer to start at, traced; None to start from the tokens.
    first: The position to start at.

  Returns:
    The metric's value.
  """
  kwargs, total = dict(base.kwargs), base.tokens.shape[1]
  own = base.edits or {}
  tokens = base.tokens[:, first:]
  if start is not None:
    tokens = None
    kwargs |= {'start': start, 'resid': base.acts['resid_pre'][start][:, first:]}
    own = {site: edit for site, edit in own.items() if not is_entrance(site)}
  edits = edits_lib.compose(own, edits)
  at = kwargs.get('logit_positions')
  if first:
    edits = edits_lib.at_positions(edits, first, total - first, total)
    sites = getattr(model, 'restart_sites', ())
    kwargs['before'] = {site: base.acts[site][:, :, :first] for site in sites}
    if at is not None:
      kwargs['logit_positions'] = jnp.maximum(at - first, 0)
  logits, acts = call(model, params, tokens, edits, kwargs, metric)
  logits = _whole_logits(logits, base.logits, at, first)
  return measure(model, metric, logits, _whole_acts(acts, base.acts, start, first))


def _whole_logits(logits: jax.Array, base: Any, at: Any, first: int) -> jax.Array:
  """The logits, with the base run's at positions that were not run."""
  if not first or base is None:
    return logits
  if at is None:
    return jnp.concatenate([base[:, :first], logits], 1)
  earlier = jnp.broadcast_to(at < first, logits.shape[:2])
  return jnp.where(earlier[..., None], base, logits)


def _whole_acts(acts: Acts, base: Acts | None, start: Any, first: int) -> Acts:
  """The activations, with the base run's where nothing was run."""
  out = dict(acts)
  for site, before in (base or {}).items():
    row = SITES[site]
    if site not in acts:
      out[site] = before
      continue
    act = acts[site]
    if first:
      axis = row.full_axes.index('T')
      earlier = jax.lax.slice_in_dim(before, 0, first, axis=axis)
      act = jnp.concatenate([earlier, act], axis)
    if row.layered and start is not None:
      ran = jnp.arange(before.shape[0]) >= start
      act = jnp.where(ran.reshape([-1] + [1] * (before.ndim - 1)), act, before)
    out[site] = act
  return out
