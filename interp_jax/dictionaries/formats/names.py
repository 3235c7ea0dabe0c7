"""Where a dictionary sits in a model, in other libraries' words.

Hook names of TransformerLens (SAELens, circuit-tracer, Llamascopium) and module names
of transformers (sparsify, Gemma Scope 2), and the sites that they are here. A name that
is not in the tables gives no site: it is kept in the metadata, and nothing is guessed.
"""

import re

_Place = tuple[str | None, int | None]

# fmt: off
_HOOKS = {
  'hook_resid_pre': 'resid_pre', 'hook_resid_mid': 'resid_mid',
  'hook_resid_post': 'resid_post', 'hook_attn_out': 'attn_out',
  'hook_mlp_out': 'mlp_out', 'attn.hook_q': 'q', 'attn.hook_k': 'k',
  'attn.hook_v': 'v', 'attn.hook_z': 'z', 'attn.hook_pattern': 'pattern',
  'attn.hook_attn_scores': 'attn_scores', 'attn.hook_rot_q': 'rot_q',
  'attn.hook_rot_k': 'rot_k', 'mlp.hook_pre': 'pre', 'mlp.hook_post': 'post',
  'mlp.hook_pre_linear': 'pre_linear', 'mlp.hook_mid': 'mid',
  # The input of an MLP is its norm's output. `hook_mlp_in` is before the norm.
  'ln2.hook_normalized': 'ln2.normalized', 'ln1.hook_normalized': 'ln1.normalized',
  'mlp.hook_in': 'ln2.normalized', 'attn.hook_in': 'ln1.normalized',
  'hook_in': 'resid_pre', 'hook_out': 'resid_post', 'mlp.hook_out': 'mlp_out',
  'attn.hook_out': 'attn_out', 'attn.o.hook_in': 'z',
}
_OUTER = {
  'hook_embed': 'embed', 'hook_pos_embed': 'pos_embed',
  'ln_final.hook_normalized': 'ln_final.normalized',
}
_MODULES = {
  'output': 'resid_post', 'self_attn.o_proj.input': 'z',
  'pre_feedforward_layernorm.output': 'ln2.normalized',
  'post_feedforward_layernorm.output': 'mlp_out',
  'post_attention_layernorm.output': 'attn_out',
}
# fmt: on


def site_of(hook: str | None) -> _Place:
  """Site and layer of a hook, `blocks.3.hook_resid_post`; None where not known."""
  if hook is None:
    return None, None
  if match := re.fullmatch(r'blocks\.(\d+)\.(.+)', hook):
    return _HOOKS.get(match[2]), int(match[1])
  return _OUTER.get(hook), None


def hook_of(site: str | None, layer: int | None) -> str | None:
  """The hook of a site; None where there is no site, or it has no hook."""
  by_site = {}
  for hook, name in (_OUTER if layer is None else _HOOKS).items():
    by_site.setdefault(name, hook)
  if site not in by_site:
    return None
  return by_site[site] if layer is None else f'blocks.{layer}.{by_site[site]}'


def kind_of(hook: str | None) -> str | None:
  """The site of a hook of any layer, `hook_resid_mid`; None where not known."""
  return _HOOKS.get(hook or '')


def hook_kind(site: str | None) -> str | None:
  """The hook of a site of any layer; None where not known."""
  hook = hook_of(site, 0)
  return hook and hook.removeprefix('blocks.0.')


def site_of_module(name: str | None) -> _Place:
  """Site and layer of a module's input or output in transformers' Gemma 3."""
  match = re.fullmatch(r'model(?:\.language_model)?\.layers\.(\d+)\.(.+)', name or '')
  return (_MODULES.get(match[2]), int(match[1])) if match else (None, None)
