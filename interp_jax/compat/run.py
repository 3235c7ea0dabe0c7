"""TransformerLens's ways to run a model, as pure functions that can be compiled."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax import edits as edits_lib
from interp_jax.compat.cache import ActivationCache
from interp_jax.compat.hooks import all_hooks
from interp_jax.compat.names import act_name, get_hook
from interp_jax.core import get_site
from interp_jax.edits import Edit, Edits
from interp_jax.models import Transformer, TransformerConfig

NamesFilter = str | Sequence[str] | Callable[[str], bool]
# What to do at one hook: an edit, several in order, or a function of the activation.
HookEdit = Edit | Callable[[jax.Array], jax.Array] | Sequence[Any]


def run_with_cache(
  model: Transformer,
  params: Mapping[str, Any],
  tokens: Any,
  hooks: Mapping[str, HookEdit] | None = None,
  *,
  names_filter: NamesFilter | None = None,
  remove_batch_dim: bool = False,
  **options: Any,
) -> tuple[jax.Array, ActivationCache]:
  """Runs a model and keeps its activations, under TransformerLens's names.

  Args:
    model: The model.
    params: Its parameters.
    tokens: The tokens `[B, T]`.
    hooks: What to do to activations on their way, as for `run_with_hooks`.
    names_filter: What to keep: a name, several, or a function of a name; nothing else
      is kept in memory. None for every site.
    remove_batch_dim: Whether to take the batch axis of a single sequence off.
    **options: Arguments of `model.apply`: `mask`, `token_types`, `logit_positions`.

  Returns:
    The logits and the cache.

  Raises:
    ValueError: if a name is not known, or a filter keeps nothing.
  """
  edits = to_edits(hooks, model.cfg, params)
  names = filtered_names(names_filter, model.cfg)
  logits, acts, kept = _run(model, names, params, jnp.asarray(tokens), edits, options)
  cache = ActivationCache(model.cfg, params, acts, kept)
  return logits, cache.remove_batch_dim() if remove_batch_dim else cache


def run_with_hooks(
  model: Transformer,
  params: Mapping[str, Any],
  tokens: Any,
  hooks: Mapping[str, HookEdit],
  **options: Any,
) -> jax.Array:
  """Runs a model with some activations edited, and gives its logits.

  Args:
    model: The model.
    params: Its parameters.
    tokens: The tokens `[B, T]`.
    hooks: TransformerLens's name → an edit, several in order, or a function of the
      activation that keeps its shape.
    **options: Arguments of `model.apply`.

  Returns:
    The logits `[B, T, V]`.
  """
  edits = to_edits(hooks, model.cfg, params)
  return _logits(model, params, jnp.asarray(tokens), edits, options)


def to_edits(
  hooks: Mapping[str, HookEdit] | None,
  cfg: TransformerConfig,
  params: Mapping[str, Any] | None = None,
) -> Edits:
  """Edits by TransformerLens's names as edits by site, for `model.apply`.

  A name inside the layers means one layer: a value there broadcasts against `[B, T,
  ...]`. To edit many layers at once, edit the site: one edit then serves them all.

  Args:
    hooks: Name (short ones such as 'z3' too) → an edit, several in order, or a function
      of the activation that keeps its shape.
    cfg: The model's config.
    params: Its parameters; needed for `hook_normalized`, which TransformerLens keeps
      before gain and bias and we after: the same where the norms are folded.

  Returns:
    The edits.

  Raises:
    ValueError: if a hook is not known, or cannot be edited here.
  """
  layered = []
  for name, given in (hooks or {}).items():
    site, layer = _editable(name, cfg, params)
    entries = given if isinstance(given, Sequence) else (given,)
    layered += [{site: _at_layer(e, site, layer, cfg)} for e in entries]
  return edits_lib.compose(*layered)


def filtered_names(
  names_filter: NamesFilter | None, cfg: TransformerConfig
) -> tuple[str, ...] | None:
  """The full names that a filter keeps, in forward order; None for all sites.

  Raises:
    ValueError: if a name is not known, or nothing is kept.
  """
  if names_filter is None:
    return None
  if callable(names_filter):
    names = [name for name in all_hooks(cfg) if names_filter(name)]
  else:
    given = [names_filter] if isinstance(names_filter, str) else names_filter
    names = [get_hook(act_name(name), cfg).name for name in given]
  if not names:
    raise ValueError('names_filter keeps nothing. Leave it out to keep everything.')
  for name in names:
    if get_hook(name, cfg).expert is not None:
      raise ValueError(
        f'names_filter: the rows of {name!r} depend on the tokens, so that it cannot '
        "be compiled. Keep 'mlp.hook_expert_pre' and the like of all experts."
      )
  return tuple(names)


# At the top level, so that a second run of an equal model compiles nothing.
@functools.partial(jax.jit, static_argnums=(0, 1))
def _run(model, names, params, tokens, edits, options):
  logits, acts = model.apply({'params': params}, tokens, edits, **options)
  if names is None:
    return logits, acts, {}
  cache = ActivationCache(model.cfg, params, acts)
  return logits, {}, {name: cache[name] for name in names}


@functools.partial(jax.jit, static_argnums=0)
def _logits(model, params, tokens, edits, options):
  return model.apply({'params': params}, tokens, edits, **options)[0]


def _editable(
  name: str, cfg: TransformerConfig, params: Mapping[str, Any] | None
) -> tuple[str, int | None]:
  """The site that an edit of a hook edits."""
  hook = get_hook(act_name(name), cfg)
  if hook.site:
    return hook.site, hook.layer
  if hook.kind.endswith('.before_gain'):
    norm = hook.kind.removesuffix('.before_gain')
    if params is not None and _is_plain(norm, hook.layer, params):
      return f'{norm}.normalized', hook.layer
    raise ValueError(
      f"Hook {name!r} stands before the norm's gain and bias; here an edit stands "
      f'after them. Fold the norms first (interp_jax.models.process) and give params, '
      f'or edit {hook.name.replace("hook_normalized", "hook_out")!r}, the output.'
    )
  raise ValueError(
    f'Hook {name!r} can be read but not edited: it is computed from other activations, '
    'which can be. The sites are in interp_jax.core.site_table().'
  )


def _is_plain(norm: str, layer: int | None, params: Mapping[str, Any]) -> bool:
  """Whether a norm has gain one and bias zero."""
  where = params if layer is None else params['blocks']
  own = {
    k: np.asarray(v if layer is None else v[layer]) for k, v in where[norm].items()
  }
  return bool((own['w'] == 1).all() and (own.get('b', np.zeros(1)) == 0).all())


def _at_layer(edit: Any, site: str, layer: int | None, cfg: TransformerConfig) -> Edit:
  """An edit of one layer, as an edit of the site."""
  if not isinstance(edit, Edit):
    if not callable(edit):
      raise TypeError(
        f'Hooks of {site!r}: {type(edit).__name__} is neither an edit nor a function.'
      )
    return edits_lib.Splice(jax.tree_util.Partial(edit), layer)
  if layer is None:
    return edit
  if isinstance(edit, edits_lib.Splice):
    return dataclasses.replace(edit, layer=layer)
  rank = len(get_site(site).axes)
  here = (np.arange(cfg.layers) == layer).reshape(-1, *[1] * rank)
  if isinstance(edit, edits_lib.Interpolate):
    weight = jnp.where(here, jnp.asarray(edit.weight), 0)
    return dataclasses.replace(edit, weight=weight)
  fields: dict[str, Any] = {'mask': here}
  if (mask := getattr(edit, 'mask', None)) is not None:
    fields['mask'] = here & jnp.asarray(mask)
  return dataclasses.replace(edit, **fields)
