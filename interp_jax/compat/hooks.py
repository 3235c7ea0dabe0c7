"""The table of TransformerLens's hooks: what each is a name of, model by model.

The order is that of the forward pass. A site that TransformerLens has no name for gets
one in its style.
"""

from collections.abc import Iterator
import dataclasses
import functools

from interp_jax.core import SITES
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
