"""TransformerLens's names of activations, and the sites that they are here.

Names are TransformerLens 3's: the old ones (`blocks.3.attn.hook_z`), under which a
cache lists activations, and the newer aliases (`blocks.3.attn.o.hook_in`). A site that
TransformerLens has no name for gets one in its style.
"""

from collections.abc import Iterator
import dataclasses
import functools
import re

from interp_jax.core import SITES, get_site, unknown
from interp_jax.models import TransformerConfig


@dataclasses.dataclass(frozen=True)
class Hook:
  """What stands under a name of TransformerLens.

  Attributes:
    name: The name.
    kind: A site, if the activation is that site's, else how it is computed: a name in
      `interp_jax.compat.derived`.
    layer: The layer; None outside the layers.
    listed: Whether a cache lists it: TransformerLens caches it unless told otherwise.
    expert: The expert, for what a mixture keeps of each.
  """

  name: str
  kind: str
  layer: int | None = None
  listed: bool = True
  expert: int | None = None

  @property
  def site(self) -> str | None:
    """The site, or None for what is computed from several."""
    return self.kind if self.kind in SITES else None


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


@functools.cache
def all_hooks(cfg: TransformerConfig) -> dict[str, Hook]:
  """Name → hook, of everything that a model of this config has, in forward order."""
  hooks = [Hook(name, kind, None, on) for name, kind, on in _entry(cfg)]
  for layer in range(cfg.layers):
    rows = _layer(cfg)
    hooks += [Hook(f'blocks.{layer}.{n}', kind, layer, on) for n, kind, on in rows]
    hooks += [
      Hook(f'blocks.{layer}.mlp.experts.{e}.hook_{n}', f'{kind} of one', layer, True, e)
      for e in range(cfg.experts)
      for n, kind in _OF_ONE_EXPERT.items()
    ]
  hooks += [Hook(name, kind, None, on) for name, kind, on in _exit(cfg)]
  exists = {h.name: h for h in reversed(hooks) if _exists(h, cfg)}
  return dict(reversed(exists.items()))


_Row = tuple[str, str, bool]


def _entry(cfg: TransformerConfig) -> Iterator[_Row]:
  """Names before the layers, what they stand for, and whether caches list them."""
  encoder = cfg.norm_placement == 'residual'
  prefix = 'embed.' if encoder else ''
  if cfg.embed_norm and cfg.norm != 'none' and not encoder:
    yield 'embed.hook_out', 'embed', False
    # TransformerLens's embedding includes its norm (BLOOM).
    yield 'hook_embed', 'ln_embed.normalized', True
  else:
    yield f'{prefix}hook_embed', 'embed', True
    yield 'embed.hook_out', 'embed', False
  yield f'{prefix}hook_pos_embed', 'pos_embed', True
  yield 'pos_embed.hook_out', 'pos_embed', False
  yield f'{prefix}hook_token_type_embed', 'token_type_embed', True
  if encoder:
    yield 'hook_full_embed', 'ln_embed.normalized', True
  yield from _norm('embed.ln', 'ln_embed')


def _exit(cfg: TransformerConfig) -> Iterator[_Row]:
  final = 'mlm_head.ln' if cfg.head == 'mlm' else 'ln_final'
  yield from _norm(final, 'ln_final')
  normed = cfg.final_norm and cfg.norm != 'none'
  yield 'unembed.hook_in', 'ln_final.normalized' if normed else 'unembed_in', True
  yield 'unembed.hook_out', 'unembed_out', True


def _layer(cfg: TransformerConfig) -> Iterator[_Row]:
  """Names within a layer."""
  yield 'hook_resid_pre', 'resid_pre', True
  yield 'hook_in', 'resid_pre', False
  for name in ('hook_attn_in', 'hook_q_input'):
    yield name, 'per_head_input', False
  for name in ('hook_k_input', 'hook_v_input'):
    yield name, 'per_group_input', False
  after = cfg.norm_placement == 'post'
  if not after:
    yield from _norm('ln1', 'ln1')
  yield from _attention(cfg)
  yield from _norm('ln1' if after else 'ln1_post', 'ln1_post')
  yield 'hook_attn_out', 'attn_out', True
  yield 'hook_resid_mid', 'resid_mid', True
  if not cfg.attn_only:
    yield 'hook_mlp_in', 'resid_pre' if cfg.parallel else 'resid_mid', False
  if cfg.norm_placement in ('pre', 'sandwich') and not cfg.parallel:
    yield 'ln2.hook_in', 'resid_mid', False
  if not after:
    yield from _norm('ln2', 'ln1' if cfg.shared_norm else 'ln2')
  yield from _mlp(cfg)
  yield from _norm('ln2' if after else 'ln2_post', 'ln2_post')
  yield 'hook_mlp_out', 'mlp_out', True
  if cfg.norm_placement not in ('post', 'sandwich'):
    yield 'mlp.hook_out', 'mlp_out', False
  yield 'hook_resid_post', 'resid_post', True
  yield 'hook_out', 'resid_post', False
  if cfg.norm_placement == 'residual':
    last = 'ln1' if cfg.attn_only else 'ln2'
    yield 'hook_normalized_resid_post', f'{last}.normalized', True


def _attention(cfg: TransformerConfig) -> Iterator[_Row]:
  if cfg.norm_placement in ('pre', 'sandwich'):
    yield 'attn.hook_in', 'ln1.normalized', False
  if cfg.positions == 'shortformer':
    yield 'attn.hook_attn_input', 'shortformer_input', False
  for kind in 'qkv':
    yield f'attn.hook_{kind}', kind, True
    yield f'attn.{kind}.hook_out', kind, False
  if cfg.qk_norm != 'none':
    for kind in 'qk':
      yield f'attn.{kind}_norm.hook_scale', f'{kind}_norm_scale', True
      yield f'attn.{kind}_norm.hook_normalized', f'{kind}_norm_normalized', True
  for name in ('rot_q', 'rot_k', 'attn_scores', 'pattern', 'z'):
    yield f'attn.hook_{name}', name, True
  yield 'attn.o.hook_in', 'z', False
  yield 'attn.hook_result', 'result', False
  if cfg.norm_placement not in ('post', 'sandwich'):
    yield 'attn.hook_out', 'attn_out', False


def _mlp(cfg: TransformerConfig) -> Iterator[_Row]:
  if cfg.norm_placement in ('pre', 'sandwich'):
    yield 'mlp.hook_in', f'ln{1 if cfg.shared_norm else 2}.normalized', False
  yield 'mlp.hook_pre', 'pre', True
  yield 'mlp.gate.hook_out' if cfg.gated else 'mlp.in.hook_out', 'pre', False
  yield 'mlp.hook_pre_linear', 'pre_linear', True
  yield 'mlp.in.hook_out', 'pre_linear', False
  yield 'mlp.hook_mid', 'mid', True
  if cfg.act == 'solu_ln' and not cfg.attn_only:
    yield 'mlp.ln.hook_scale', 'solu_scale', True
    yield 'mlp.ln.hook_normalized', 'solu_normalized', True
  yield 'mlp.hook_post', 'post', True
  yield 'mlp.out.hook_in', 'post', False
  if cfg.experts:
    yield 'mlp.hook_expert_weights', 'expert_probabilities', True
  yield 'mlp.hook_expert_indices', 'expert_choices', True
  for name, site in _OURS_OF_EXPERTS.items():
    yield f'mlp.hook_{name}', site, False


def _norm(name: str, site: str) -> Iterator[_Row]:
  yield f'{name}.hook_scale', f'{site}.scale', True
  # TransformerLens keeps what a norm gives before its gain and bias, we after.
  yield f'{name}.hook_normalized', f'{site}.before_gain', True
  yield f'{name}.hook_out', f'{site}.normalized', False


def _exists(hook: Hook, cfg: TransformerConfig) -> bool:
  if hook.kind.endswith('.before_gain'):
    return SITES[hook.kind.replace('before_gain', 'normalized')].exists(cfg)
  if hook.kind == 'unembed_out':
    return cfg.head != 'none'
  return hook.site is None or SITES[hook.site].exists(cfg)


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
# TransformerLens's `pre` of an expert is the linear factor, `gate` what is activated.
_OF_ONE_EXPERT = {
  'gate': 'expert_pre',
  'pre': 'expert_pre_linear',
  'post': 'expert_post',
}
# Sites of a mixture that TransformerLens has no hook for.
_OURS_OF_EXPERTS = {
  'router_logits': 'router_logits',
  'chosen_weights': 'expert_weights',
  'expert_pre': 'expert_pre',
  'expert_pre_linear': 'expert_pre_linear',
  'expert_post': 'expert_post',
  'expert_out': 'expert_out',
}
_INSTEAD = {
  'result': "it is computed from 'attn.hook_z'; edit that, or 'hook_attn_out'.",
  'per_head_input': 'heads here read one input; edit `q`, `k` and `v` themselves.',
  'per_group_input': 'heads here read one input; edit `k` and `v` themselves.',
  'expert_probabilities': "edit 'mlp.hook_router_logits' or 'mlp.hook_chosen_weights'.",
  'unembed_out': 'it is computed from the logits.',
}
