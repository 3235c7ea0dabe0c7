"""TransformerLens's names stand for the right sites, both ways."""

import pytest

from interp_jax.compat import act_name, all_hooks, get_hook, hook_name, site_of
from interp_jax.core import SITES, site_names
from interp_jax.models import TransformerConfig
from interp_jax.testing.tiny import TINY

OPTIONS = {
  'gpt2': {},
  'llama': {'norm': 'rmsnorm', 'positions': 'rotary', 'gated': True, 'kv_heads': 2},
  'gemma2': {'norm': 'rmsnorm', 'norm_placement': 'sandwich', 'gated': True},
  'olmo2': {'norm': 'rmsnorm', 'norm_placement': 'post', 'qk_norm': 'width'},
  'bert': {
    'norm_placement': 'residual',
    'embed_norm': True,
    'token_types': 2,
    'head': 'mlm',
    'causal': False,
  },
  'bare bert': {'norm_placement': 'residual', 'head': 'none', 'final_norm': False},
  'bloom': {'positions': 'alibi', 'embed_norm': True},
  'gptj': {'parallel': True, 'shared_norm': True, 'positions': 'rotary'},
  'neox': {'parallel': True, 'positions': 'rotary'},
  'mixtral': {
    'gated': True,
    'experts': 3,
    'experts_per_token': 2,
    'mlp_bias': False,
    'norm': 'rmsnorm',
  },
  'solu': {'act': 'solu_ln'},
  'attn only': {'attn_only': True, 'mlp_width': 0},
  'attn only residual': {
    'attn_only': True,
    'mlp_width': 0,
    'norm_placement': 'residual',
    'final_norm': False,
  },
  'shortformer': {'positions': 'shortformer'},
  'no norm': {'norm': 'none', 'embed_norm': True},
  'qk norm': {'qk_norm': 'head'},
}


def _config(name):
  return TransformerConfig(**{**TINY, **OPTIONS[name]})


@pytest.mark.parametrize('name', OPTIONS)
def test_every_site_has_a_name_that_leads_back_to_it(name):
  cfg = _config(name)
  for site in site_names(cfg):
    for layer in range(cfg.layers) if SITES[site].layered else [None]:
      assert site_of(hook_name(site, layer, cfg=cfg), cfg) == (site, layer)


@pytest.mark.parametrize('name', OPTIONS)
def test_hooks_that_are_sites_are_sites_of_the_model(name):
  cfg = _config(name)
  for hook in all_hooks(cfg).values():
    if hook.site:
      assert hook.site in site_names(cfg)
      assert SITES[hook.site].layered == (hook.layer is not None)


def test_names_are_those_of_transformer_lens():
  cfg = _config('llama')
  expected = {
    'blocks.2.attn.hook_z': ('z', 2),
    'blocks.1.attn.o.hook_in': ('z', 1),
    'blocks.0.attn.hook_rot_q': ('rot_q', 0),
    'blocks.0.hook_in': ('resid_pre', 0),
    'blocks.1.mlp.hook_pre': ('pre', 1),
    'blocks.1.mlp.gate.hook_out': ('pre', 1),
    'blocks.1.mlp.in.hook_out': ('pre_linear', 1),
    'blocks.2.hook_mlp_in': ('resid_mid', 2),
    'blocks.0.ln2.hook_scale': ('ln2.scale', 0),
    'hook_embed': ('embed', None),
    'ln_final.hook_scale': ('ln_final.scale', None),
  }
  assert {name: site_of(name, cfg) for name in expected} == expected


def test_norms_are_named_by_where_transformer_lens_puts_them():
  name = lambda site, of: hook_name(site, 1, cfg=_config(of))
  assert name('ln1_post.scale', 'olmo2') == 'blocks.1.ln1.hook_scale'
  assert name('ln1_post.scale', 'gemma2') == 'blocks.1.ln1_post.hook_scale'
  assert name('ln2.normalized', 'bert') == 'blocks.1.hook_normalized_resid_post'
  assert site_of('blocks.1.ln2.hook_scale', _config('gptj')) == ('ln1.scale', 1)


def test_embeddings_of_normed_models_are_what_transformer_lens_hooks():
  assert site_of('hook_embed', _config('bloom')) == ('ln_embed.normalized', None)
  assert site_of('embed.hook_out', _config('bloom')) == ('embed', None)
  assert site_of('hook_full_embed', _config('bert')) == ('ln_embed.normalized', None)
  assert site_of('embed.hook_embed', _config('bert')) == ('embed', None)
  assert site_of('embed.ln.hook_scale', _config('bert')) == ('ln_embed.scale', None)


def test_short_names_are_spelled_out():
  cases = {
    ('z', 3): 'blocks.3.attn.hook_z',
    ('k6',): 'blocks.6.attn.hook_k',
    ('k', 6, 'a'): 'blocks.6.attn.hook_k',
    ('pre', 2): 'blocks.2.mlp.hook_pre',
    ('embed',): 'hook_embed',
    ('attn', 1): 'blocks.1.attn.hook_pattern',
    ('mlp_post', 1): 'blocks.1.mlp.hook_post',
    ('normalized', 27, 'ln2'): 'blocks.27.ln2.hook_normalized',
    ('scale4ln1',): 'blocks.4.ln1.hook_scale',
    ('scale',): 'ln_final.hook_scale',
    ('resid_pre2',): 'blocks.2.hook_resid_pre',
    ('rot_k', 0): 'blocks.0.attn.hook_rot_k',
    ('resid_pre', 0): 'blocks.0.hook_resid_pre',
    ('blocks.1.attn.hook_z',): 'blocks.1.attn.hook_z',
  }
  assert {key: act_name(*key) for key in cases} == cases


def test_layers_count_from_the_end_too():
  cfg = _config('gpt2')
  assert site_of('blocks.-1.hook_resid_post', cfg) == ('resid_post', 2)
  assert hook_name('z', -1, cfg=cfg) == 'blocks.2.attn.hook_z'


def test_errors_say_what_there_is():
  cfg = _config('gpt2')
  with pytest.raises(ValueError, match=r"Did you mean 'blocks.1.attn.hook_pattern'"):
    get_hook('blocks.1.attn.hook_patern', cfg)
  with pytest.raises(ValueError, match=r'layers 0\.\.2'):
    get_hook('blocks.3.attn.hook_z', cfg)
  with pytest.raises(ValueError, match='no site'):
    site_of('blocks.0.attn.hook_result', cfg)
  with pytest.raises(ValueError, match='give its layer'):
    hook_name('z', cfg=cfg)
  with pytest.raises(ValueError, match='give no layer'):
    hook_name('embed', 1, cfg=cfg)
  with pytest.raises(ValueError, match=r'0\.\.2'):
    hook_name('z', 3, cfg=cfg)
