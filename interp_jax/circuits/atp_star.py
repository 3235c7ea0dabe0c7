"""AtP*: attribution patching without its two blind spots.

Kramár et al. 2024, arXiv:2403.00745. Where attention is saturated, the softmax's
gradient says nothing of queries and keys: *QK fix* computes the patterns that the
patched ones give, exactly, and attributes those. Where effects through two layers
cancel, the gradient hides both: *GradDrop* takes it once for each layer with that
layer's contribution dropped, and averages the sizes.
"""

from collections.abc import Iterable
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from interp_jax import edits as edits_lib
from interp_jax.circuits.arguments import as_arrays, as_pytree
from interp_jax.circuits.attribution import (
  UNIT_AXES,
  Attribution,
  acts_of_both,
  check_run,
  gap,
  gradients,
  label,
)
from interp_jax.circuits.metrics import Metric
from interp_jax.circuits.worlds import output_shapes
from interp_jax.core import Model, Tokens, get_site


def atp_star(
  model: Model,
  params: Any,
  clean: Tokens,
  corrupt: Int[Array | np.ndarray, 'B T'],
  metric: Metric,
  sites: Iterable[str] = ('q', 'k', 'v', 'z', 'mlp_out'),
  *,
  qk_fix: bool = True,
  grad_drop: bool = True,
  **kwargs: Any,
) -> dict[str, Attribution]:
  """Estimates the effect of patching each node of the corrupted run.

  It costs four forward passes (with QK fix) and a forward-and-backward pass for each
  layer (with GradDrop) or one. A query node is a head at a position, a key node a
  key/value head at a position.

  Args:
    model: The model.
    params: Its parameters.
    clean: Tokens of the clean run, which is patched into.
    corrupt: Tokens of the corrupted run.
    metric: A number, of logits and acts.
    sites: The sites; `'q'` and `'k'` get the QK fix.
    qk_fix: Whether to recompute patterns for queries and keys.
    grad_drop: Whether to average sizes over gradients with one layer dropped. Effects
      are then sizes: never negative.
    **kwargs: Passed to the model: `mask`, `logit_positions`.

  Returns:
    Site → effects by example: with GradDrop, `1/(L-1) sum over layers |effect|`;
    without, estimates of `metric(patched) - metric(clean)`.

  Raises:
    ValueError: if the model has no such site, one layer only (GradDrop), tokens do not
      fit each other, or the metric is not a single number.
  """
  clean, metric, sites = jnp.asarray(clean), as_pytree(metric), tuple(sites)
  kwargs = as_arrays(kwargs)
  fixed = tuple(site for site in ('q', 'k') if qk_fix and site in sites)
  needed = (*sites, *(('pattern', 'attn_scores') if fixed else ()))
  check_run(model, params, clean, corrupt, metric, needed, kwargs)
  for site in sites:
    if get_site(site).full_axes[-1] not in UNIT_AXES:
      raise ValueError(
        f'{site!r} holds no nodes with units; its effects are those of '
        'attribution_patching.'
      )
  if grad_drop and output_shapes(model, params, clean)[1]['attn_out'].shape[0] < 2:
    raise ValueError('GradDrop needs two layers or more; set grad_drop=False.')
  args = (params, clean, jnp.asarray(corrupt), metric, kwargs)
  effects = _effects(model, sites, fixed, grad_drop, *args)
  # Effects come summed over units: a size is that of a node, not of its units.
  return {
    site: label(site, np.asarray(values)[..., None]) for site, values in effects.items()
  }


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _effects(model, sites, fixed, grad_drop, params, clean, corrupt, metric, kwargs):
  plain = tuple(site for site in sites if site not in fixed)
  own, other = acts_of_both(model, params, clean, corrupt, kwargs)
  gaps = {site: gap(own[site], other[site]) for site in plain}
  moved = {
    site: _pattern_gap(model, params, clean, own, other, kwargs, site) for site in fixed
  }
  reads = {site: own[site] for site in (*plain, *(('pattern',) if fixed else ()))}

  def effects(edits=None):
    grads = gradients(model, params, clean, metric, kwargs, reads, edits)
    out = {site: (grads[site] * gaps[site]).sum(-1) for site in plain}
    return out | {site: moved[site](grads['pattern']) for site in fixed}

  if not grad_drop:
    return effects()
  layers = own['attn_out'].shape[0]

  def dropped(layer):
    # Set to what it is anyway: the value stays, the gradient does not pass.
    here = (jnp.arange(layers) == layer)[:, None, None, None]
    writers = [site for site in ('attn_out', 'mlp_out') if site in own]
    held = {site: edits_lib.Replace(own[site], here) for site in writers}
    return jax.tree.map(jnp.abs, effects(held))

  sizes = jax.lax.map(dropped, jnp.arange(layers))
  return jax.tree.map(lambda size: size.sum(0) / (layers - 1), sizes)


def _pattern_gap(model, params, clean, own, other, kwargs, site):
  """Gradient of patterns → effects `[L, B, T, heads]` of queries or keys.

  In one run with every layer's input held at its clean value and its queries (keys)
  replaced, each layer's scores are those of patched queries (keys) and clean keys
  (queries).
  """
  held = {
    'resid_pre': edits_lib.Replace(own['resid_pre']),
    site: edits_lib.Replace(other[site]),
  }
  patched = model.apply({'params': params}, clean, held, **kwargs)[1]
  if site == 'q':
    moved = patched['pattern'] - own['pattern']
    return lambda grad: jnp.moveaxis((grad * moved).sum(-1), 2, 3)
  groups = own['k'].shape[3]

  def of_keys(grad):
    scores = own['attn_scores'], patched['attn_scores']
    effects = key_effects(grad, *scores, own['pattern'])
    # Heads of a group share the key: its effect is the sum of theirs.
    layers, batch, heads, keys = effects.shape
    shared = effects.reshape(layers, batch, groups, heads // groups, keys).sum(3)
    return jnp.moveaxis(shared, 2, 3)

  return of_keys


def key_effects(
  grad: Float[Array, '*b T S'],
  clean: Float[Array, '*b T S'],
  patched: Float[Array, '*b T S'],
  pattern: Float[Array, '*b T S'],
) -> Float[Array, '*b S']:
  """The effects of patching the key of one position at a time.

  Args:
    grad: The metric's gradient with respect to the pattern.
    clean: Scores of the clean run, -inf where masked.
    patched: Scores with all keys patched; column s is that of key s.
    pattern: The clean pattern.

  Returns:
    For each s, `sum over t of grad[t] (pattern with column s patched - pattern)[t]`.
  """
  # The largest score of a row, whichever of its columns is patched.
  top = jnp.maximum(clean.max(-1, keepdims=True), patched.max(-1, keepdims=True))
  top = jnp.where(jnp.isfinite(top), top, 0)
  old, new = jnp.exp(clean - top), jnp.exp(patched - top)
  # Sums over the other columns from both sides, as `total - own` cancels.
  rest = _sum_of_others(old) + new
  weighted = _sum_of_others(grad * old) + grad * new
  mixed = weighted / jnp.where(rest == 0, 1, rest)
  before = (grad * pattern).sum(-1, keepdims=True)
  seen = jnp.isfinite(clean) | jnp.isfinite(patched)
  return jnp.where(seen, mixed - before, 0).sum(-2)


def _sum_of_others(x: jax.Array) -> jax.Array:
  """Sums over the last axis without each entry."""
  zeros = jnp.zeros_like(x[..., :1])
  before = jnp.concatenate([zeros, jnp.cumsum(x, -1)[..., :-1]], -1)
  after = jnp.cumsum(x[..., ::-1], -1)[..., ::-1]
  return before + jnp.concatenate([after[..., 1:], zeros], -1)
