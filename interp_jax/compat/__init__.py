"""TransformerLens's names and calls, for those who come from there.

`run_with_cache` gives an `ActivationCache` whose keys are TransformerLens's hooks and
whose methods are its; `run_with_hooks` and `to_edits` take edits by those names;
`hook_name` and `site_of` translate. `hooked_transformer` makes a TransformerLens model
of one of ours, and `compare_hooks` says how far the two differ. `patching` has the
getters of activation patching.
"""

from interp_jax.compat import patching
from interp_jax.compat.cache import ActivationCache
from interp_jax.compat.check import compare_hooks, hooked_transformer
from interp_jax.compat.hooks import Hook, all_hooks
from interp_jax.compat.names import act_name, get_hook, hook_name, site_of
from interp_jax.compat.run import run_with_cache, run_with_hooks, to_edits

__all__ = [
  'ActivationCache',
  'Hook',
  'act_name',
  'all_hooks',
  'compare_hooks',
  'get_hook',
  'hook_name',
  'hooked_transformer',
  'patching',
  'run_with_cache',
  'run_with_hooks',
  'site_of',
  'to_edits',
]
