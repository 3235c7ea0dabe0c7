"""TransformerLens's names of activations, and the sites that they are here.

Names are TransformerLens 3's: the old ones (`blocks.3.attn.hook_z`), under which a
cache lists activations, and the newer aliases (`blocks.3.attn.o.hook_in`).
"""

import re

from interp_jax.compat.hooks import Hook, all_hooks
from interp_jax.core import get_site, unknown
from interp_jax.models import TransformerConfig


def act_name(name: str, layer: int | None = None, layer_type: str | None = None) -> str:
  """The full name that is meant by a short one, as TransformerLens's `get_act_name`.

  Args:
    name: Such as 'z', 'resid_pre', 'k6', 'scale4ln1' or a full name.
    layer: The layer, where the name lies in one.
    layer_type: Part of the layer, where the name alone leaves it open: 'attn', 'mlp',
      'ln1', 'ln2' (or 'a', 'm').

  Returns:
    The full name; whether a model has it is not checked.
  """
  full = '.' in name or name.startswith('hook_')
  if full and layer is None and layer_type is None:
    return name
  if match := re.match(r'([a-z_]+?)(\d+)([a-z]?.*)', name):
    name, number, layer_type = match.groups()
    layer = int(number)
  name = _SHORT.get(name, name)
  part = _PART_OF.get(name, _PARTS.get(layer_type or '', layer_type))
  if name in ('scale', 'normalized') and layer is None:
    return f'ln_final.hook_{name}'
  where = '' if layer is None else f'blocks.{layer}.'
  return f'{where}{part}.hook_{name}' if part else f'{where}hook_{name}'


def get_hook(name: str, cfg: TransformerConfig) -> Hook:
  """What stands under a name in a model.

  Args:
    name: A full name; negative layers count from the end.
    cfg: The model's config.

  Returns:
    The hook.

  Raises:
    ValueError: if a model of this config has no such hook.
  """
  hooks = all_hooks(cfg)
  if match := re.match(r'blocks\.(-\d+)\.(.*)', name):
    name = f'blocks.{cfg.layers + int(match[1])}.{match[2]}'
  if name in hooks:
    return hooks[name]
  layer = re.match(r'blocks\.(\d+)\.', name)
  if layer and int(layer[1]) >= cfg.layers:
    raise ValueError(f'Hook {name!r}: the model has layers 0..{cfg.layers - 1}.')
  # One layer's names say it all, and keep the message short.
  number = layer[1] if layer else '0'
  near = [h for h in hooks if not h.startswith('blocks.')]
  near += [
    h for h in hooks if h.startswith(f'blocks.{number}.') and '.experts' not in h
  ]
  raise ValueError(unknown('hook', name, near))


def site_of(name: str, cfg: TransformerConfig) -> tuple[str, int | None]:
  """The site of a hook, and its layer.

  Args:
    name: A name of TransformerLens, full or alias.
    cfg: The model's config.

  Returns:
    `site, layer`; the layer is None outside the layers.

  Raises:
    ValueError: if there is no such hook, or it is computed from sites and is none.
  """
  hook = get_hook(name, cfg)
  if hook.site is None:
    why = _INSTEAD.get(hook.kind, 'it is computed from others.')
    raise ValueError(
      f'Hook {name!r} is no site: {why} An ActivationCache can read its value.'
    )
  return hook.site, hook.layer


def hook_name(site: str, layer: int | None = None, *, cfg: TransformerConfig) -> str:
  """TransformerLens's name of a site.

  Args:
    site: The site.
    layer: The layer, for a site inside the layers; negative ones count from the end.
    cfg: The model's config, on which names depend (norms' above all).

  Returns:
    The name: the first of those that the site has.

  Raises:
    ValueError: if the model has no such site, or the layer does not fit.
  """
  layered = get_site(site, cfg).layered
  if layered != (layer is not None):
    what = 'give its layer' if layered else 'give no layer'
    raise ValueError(f'hook_name: site {site!r} with layer={layer}; {what}.')
  if layer is not None and not -cfg.layers <= layer < cfg.layers:
    raise ValueError(f'hook_name: layer={layer}; the model has 0..{cfg.layers - 1}.')
  wanted = None if layer is None else layer % cfg.layers
  hooks = all_hooks(cfg).values()
  names = [h for h in hooks if h.kind == site and h.layer == wanted]
  return max(names, key=lambda hook: hook.listed).name  # The first of the best.


_SHORT = {
  'attn': 'pattern',
  'attn_logits': 'attn_scores',
  'key': 'k',
  'query': 'q',
  'value': 'v',
  'mlp_pre': 'pre',
  'mlp_mid': 'mid',
  'mlp_post': 'post',
}
_PARTS = {
  'a': 'attn',
  'attention': 'attn',
  'm': 'mlp',
  'b': '',
  'block': '',
  'blocks': '',
}
_PART_OF = {
  **dict.fromkeys(('q', 'k', 'v', 'z', 'rot_q', 'rot_k', 'result'), 'attn'),
  **dict.fromkeys(('pattern', 'attn_scores'), 'attn'),
  **dict.fromkeys(('pre', 'post', 'mid', 'pre_linear'), 'mlp'),
}
_INSTEAD = {
  'result': "it is computed from 'attn.hook_z'; edit that, or 'hook_attn_out'.",
  'per_head_input': 'heads here read one input; edit `q`, `k` and `v` themselves.',
  'per_group_input': 'heads here read one input; edit `k` and `v` themselves.',
  'expert_probabilities': "edit 'mlp.hook_router_logits' or 'mlp.hook_chosen_weights'.",
  'unembed_out': 'it is computed from the logits.',
}
