"""TransformerLens's activation patching: its fifteen getters, as one call of `sweep`.

    from interp_jax.compat import patching

    _, cache = compat.run_with_cache(model, params, clean)
    patching.get_act_patch_resid_pre(model, params, corrupted, cache, metric)

Names, the order of arguments and the axes of results are TransformerLens's, with the
parameters after the model; a metric is a function of the logits `[B, T, V]` that gives
a number. Where TransformerLens runs the model once for each entry, a few compiled
programs give them all. Further options are those of `circuits.sweep`: `mesh`, `chunk`,
`workdir`, `at`, and `logit_positions`, where a metric reads no others.
"""

from collections.abc import Callable, Mapping
import functools
from typing import Any, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Float
import numpy as np

from interp_jax import circuits
from interp_jax.circuits.arguments import as_pytree
from interp_jax.compat.cache import ActivationCache
from interp_jax.compat.names import hook_name
from interp_jax.core import get_site

Metric = Callable[[Float[Array, 'B P V']], Any]


@runtime_checkable
class Getter(Protocol):
  """What every getter is."""

  def __call__(
    self,
    model: Any,
    params: Any,
    corrupted_tokens: Any,
    clean_cache: Any,
    patching_metric: Metric,
    **options: Any,
  ) -> Float[np.ndarray, '...']: ...


def generic_activation_patch(
  model: Any,
  params: Any,
  corrupted_tokens: Any,
  clean_cache: ActivationCache | Mapping[str, Any],
  patching_metric: Metric,
  activation_name: str,
  index_axis_names: tuple[str, ...],
  **options: Any,
) -> Float[np.ndarray, '...']:
  """Patches clean activations into the corrupted run, one entry after the other.

  Args:
    model: The model, a `Transformer`.
    params: Its parameters.
    corrupted_tokens: The tokens `[B, T]` that are patched into.
    clean_cache: Activations of the clean run: an `ActivationCache`, or `acts`.
    patching_metric: Logits → number.
    activation_name: The site: 'resid_pre', 'z', 'q', 'pattern', ...
    index_axis_names: The axes of the result, by TransformerLens's names: 'layer',
      'pos', 'head' (or 'head_index'), 'dest_pos', 'src_pos'.
    **options: As for `circuits.sweep`.

  Returns:
    The metric with each entry patched.
  """
  options.setdefault('progress', False)
  result = circuits.sweep(
    model,
    params,
    corrupted_tokens,
    {activation_name: _clean(clean_cache, activation_name)},
    activation_name,
    tuple(_AXES[name] for name in index_axis_names),
    metric=_as_metric(patching_metric),
    **options,
  )
  return result.values


_AXES = {
  'layer': 'layer',
  'pos': 'position',
  'head': 'head',
  'head_index': 'head',
  'dest_pos': 'position',
  'src_pos': 'key_position',
}


def _getter(name: str, *axes: str) -> Getter:
  return functools.partial(
    generic_activation_patch, activation_name=name, index_axis_names=axes
  )


get_act_patch_resid_pre = _getter('resid_pre', 'layer', 'pos')
get_act_patch_resid_mid = _getter('resid_mid', 'layer', 'pos')
get_act_patch_attn_out = _getter('attn_out', 'layer', 'pos')
get_act_patch_mlp_out = _getter('mlp_out', 'layer', 'pos')
get_act_patch_attn_head_out_by_pos = _getter('z', 'layer', 'pos', 'head')
get_act_patch_attn_head_q_by_pos = _getter('q', 'layer', 'pos', 'head')
get_act_patch_attn_head_k_by_pos = _getter('k', 'layer', 'pos', 'head')
get_act_patch_attn_head_v_by_pos = _getter('v', 'layer', 'pos', 'head')
get_act_patch_attn_head_pattern_by_pos = _getter(
  'pattern', 'layer', 'head_index', 'dest_pos'
)
get_act_patch_attn_head_pattern_dest_src_pos = _getter(
  'pattern', 'layer', 'head_index', 'dest_pos', 'src_pos'
)
get_act_patch_attn_head_out_all_pos = _getter('z', 'layer', 'head')
get_act_patch_attn_head_q_all_pos = _getter('q', 'layer', 'head')
get_act_patch_attn_head_k_all_pos = _getter('k', 'layer', 'head')
get_act_patch_attn_head_v_all_pos = _getter('v', 'layer', 'head')
get_act_patch_attn_head_pattern_all_pos = _getter('pattern', 'layer', 'head_index')


def get_act_patch_attn_head_all_pos_every(
  model: Any,
  params: Any,
  corrupted_tokens: Any,
  clean_cache: Any,
  metric: Metric,
  **options: Any,
) -> Float[np.ndarray, '5 L H']:
  """Outputs, queries, keys, values and patterns of heads, all positions at once.

  Keys and values of fewer heads than queries are filled up with zeros.
  """
  getters = (
    get_act_patch_attn_head_out_all_pos,
    get_act_patch_attn_head_q_all_pos,
    get_act_patch_attn_head_k_all_pos,
    get_act_patch_attn_head_v_all_pos,
    get_act_patch_attn_head_pattern_all_pos,
  )
  given = (model, params, corrupted_tokens, clean_cache, metric)
  return _stacked([get(*given, **options) for get in getters])


def get_act_patch_attn_head_by_pos_every(
  model: Any,
  params: Any,
  corrupted_tokens: Any,
  clean_cache: Any,
  metric: Metric,
  **options: Any,
) -> Float[np.ndarray, '5 L T H']:
  """Outputs, queries, keys, values and patterns of heads, position by position.

  Keys and values of fewer heads than queries are filled up with zeros; patterns are by
  the position of the query.
  """
  getters = (
    get_act_patch_attn_head_out_by_pos,
    get_act_patch_attn_head_q_by_pos,
    get_act_patch_attn_head_k_by_pos,
    get_act_patch_attn_head_v_by_pos,
    get_act_patch_attn_head_pattern_by_pos,
  )
  given = (model, params, corrupted_tokens, clean_cache, metric)
  *vectors, pattern = (get(*given, **options) for get in getters)
  return _stacked([*vectors, np.moveaxis(pattern, 1, 2)])


def get_act_patch_block_every(
  model: Any,
  params: Any,
  corrupted_tokens: Any,
  clean_cache: Any,
  metric: Metric,
  **options: Any,
) -> Float[np.ndarray, '3 L T']:
  """The residual stream, attention's output and the MLP's, position by position."""
  getters = (get_act_patch_resid_pre, get_act_patch_attn_out, get_act_patch_mlp_out)
  given = (model, params, corrupted_tokens, clean_cache, metric)
  return np.stack([get(*given, **options) for get in getters])


def _stacked(results: list[np.ndarray]) -> np.ndarray:
  heads = results[0].shape[-1]
  return np.stack(
    [np.pad(r, [(0, 0)] * (r.ndim - 1) + [(0, heads - r.shape[-1])]) for r in results]
  )


def _clean(cache: Any, site: str) -> Any:
  """The activation of all layers, from our cache or from `acts`."""
  if not isinstance(cache, ActivationCache):
    return cache[site]
  if site in cache.acts:
    return cache.acts[site]
  cfg = cache.cfg
  if not get_site(site, cfg).layered:
    return cache[hook_name(site, cfg=cfg)]
  names = [hook_name(site, layer, cfg=cfg) for layer in range(cfg.layers)]
  return jax.numpy.stack([cache[name] for name in names])


def _as_metric(metric: Metric) -> circuits.Metric:
  """A metric of logits alone as one of logits and activations; arrays in it stay."""
  return jax.tree_util.Partial(_of_logits, as_pytree(metric))


def _of_logits(metric: Any, logits: Any, acts: Any) -> Any:
  del acts
  return metric(logits)
