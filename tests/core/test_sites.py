"""The table of sites is what models return: the same sites, shapes and letters."""

import jax
import numpy as np
import pytest

from interp_jax.core import (
  AXES,
  SITES,
  get_site,
  site_names,
  site_shape,
  site_table,
  unknown,
)
from interp_jax.models import Transformer, TransformerConfig
from interp_jax.testing.tiny import TINY

CONFIGS = {
  'plain': {},
  'no norm': {'norm': 'none'},
  'no final norm': {'final_norm': False},
  'neither': {'norm': 'none', 'final_norm': False},
  'sandwich': {'norm_placement': 'sandwich'},
  'sandwich without norm': {'norm_placement': 'sandwich', 'norm': 'none'},
  'attention only': {'attn_only': True},
  'attention only sandwich': {'attn_only': True, 'norm_placement': 'sandwich'},
  'parallel': {'parallel': True},
  'gated solu': {'gated': True, 'act': 'solu_ln'},
  'attention only solu': {'attn_only': True, 'gated': True, 'act': 'solu_ln'},
  'shortformer': {'positions': 'shortformer'},
  'rotary grouped': {'positions': 'rotary', 'kv_heads': 2},
  'alibi': {'positions': 'alibi', 'kv_heads': 1},
  'no positions': {'positions': 'none'},
}


@pytest.mark.parametrize('padded', [False, True], ids=['whole', 'padded'])
@pytest.mark.parametrize('name', CONFIGS)
def test_the_table_has_one_row_for_each_activation_of_a_model(name, padded):
  cfg = TransformerConfig(**(TINY | CONFIGS[name]))
  model = Transformer(cfg)
  mask = np.ones((2, 5), bool) if padded else None

  def run(key):
    tokens = np.zeros((2, 5), int)
    (_, acts), _ = model.init_with_output(key, tokens, mask=mask)
    return acts

  acts = jax.eval_shape(run, jax.random.key(0))
  shapes = {site: act.shape for site, act in acts.items()}
  assert shapes == {site: site_shape(site, cfg, 2, 5) for site in site_names(cfg)}


def test_keys_of_a_cache_lengthen_the_axis_of_keys_alone():
  cfg = TransformerConfig(**TINY)
  assert site_shape('pattern', cfg, 2, 5, keys=9) == (3, 2, 4, 5, 9)
  assert site_shape('k', cfg, 2, 5, keys=9) == (3, 2, 5, 4, 4)


def test_every_letter_is_in_the_glossary_and_every_site_has_a_meaning():
  for name, site in SITES.items():
    assert site.name == name
    assert set(site.full_axes) <= set(AXES)
    assert ('L' in site.full_axes) == site.layered
    assert site.full_axes.index('B') == int(site.layered)
    assert site.meaning
  assert len({site.meaning for site in SITES.values()}) > len(SITES) / 2


def test_names_are_listed_in_forward_order():
  names = site_names()
  chain = 'embed resid_pre q rot_q attn_scores pattern z attn_out resid_mid pre post'
  places = [names.index(name) for name in chain.split()]
  assert places == sorted(places)
  assert names[-1] == 'ln_final.normalized'


def test_a_wrong_name_suggests_the_right_one_and_lists_all():
  with pytest.raises(ValueError, match=r"Unknown site 'resid_prev'.*mean 'resid_pre'"):
    get_site('resid_prev')
  with pytest.raises(ValueError, match='attn_scores, pattern, z'):
    get_site('xyz')


def test_a_site_of_other_models_is_unknown_to_this_one():
  cfg = TransformerConfig(**TINY)
  assert get_site('rot_q').name == 'rot_q'
  with pytest.raises(ValueError, match="Unknown site 'rot_q'"):
    get_site('rot_q', cfg)
  with pytest.raises(ValueError, match="Unknown site 'rot_q'"):
    site_shape('rot_q', cfg, 1, 1)


def test_the_markdown_table_has_a_row_for_each_site():
  cfg = TransformerConfig(**TINY)
  rows = site_table(cfg).splitlines()[2:]
  assert len(rows) == len(site_names(cfg))
  assert rows[0] == '| `embed` | `[B, T, D]` | token embedding |'
  assert len(site_table().splitlines()) == 2 + len(SITES)


@pytest.mark.parametrize(
  ('given', 'hint'), [('rmsnrom', " Did you mean 'rmsnorm'?"), ('zzz', ''), (3, '')]
)
def test_a_message_names_the_given_the_close_and_the_allowed(given, hint):
  message = unknown('norm', given, iter(['layernorm', 'rmsnorm']))
  assert message == f'Unknown norm {given!r}.{hint} Valid: layernorm, rmsnorm.'
