"""Edits by TransformerLens's names do what edits of sites do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import compat, edits
from interp_jax.models.processing import process
from interp_jax.testing import tiny_model

TOKENS = np.random.default_rng(0).integers(0, 31, (2, 7))


@pytest.fixture(scope='module')
def tiny():
  return tiny_model()


def _logits(model, params, by_site):
  return model.apply({'params': params}, TOKENS, by_site)[0]


def _mask(layer, rank):
  return (np.arange(3) == layer).reshape(-1, *[1] * rank)


def test_edits_of_a_hook_are_edits_of_one_layer(tiny):
  model, params = tiny
  head = np.array([False, True, False, False])[:, None]
  first, here = jnp.eye(4)[0], _mask(1, 4)
  at_hook = [
    edits.Replace(0.5, head),
    edits.Add(jnp.ones((2, 7, 4, 4))),
    edits.Scale(2.0, ~head),
    edits.Clamp(-1.5, 2.5),
    edits.Interpolate(0.3, 0.5),
    edits.project_out(first),
  ]
  at_site = (
    edits.Replace(0.5, here & head),
    edits.Add(1.0, here),
    edits.Scale(2.0, here & ~head),
    edits.Clamp(-1.5, 2.5, here),
    edits.Interpolate(0.3, 0.5 * here),
    edits.project_out(first, here),
  )
  hooks = {'blocks.1.attn.hook_z': at_hook}
  _, cache = compat.run_with_cache(model, params, TOKENS, hooks)
  _, acts = model.apply({'params': params}, TOKENS, {'z': at_site})
  for layer in range(3):
    np.testing.assert_allclose(
      cache['z', layer], acts['z'][layer], rtol=1e-4, atol=1e-4
    )
  np.testing.assert_allclose(cache['z', 1][..., 0], 0, atol=1e-5)
  assert np.abs(cache['z', 0][..., 0]).max() > 1e-3


def test_a_function_of_the_activation_is_a_hook(tiny):
  model, params = tiny
  double = lambda z: z.at[:, :, 2].multiply(2.0)
  own = compat.run_with_hooks(model, params, TOKENS, {'z1': double})
  heads = (np.arange(4) == 2)[:, None]
  by_site = {'z': edits.Scale(2.0, _mask(1, 4) & heads)}
  np.testing.assert_allclose(own, _logits(model, params, by_site), rtol=1e-4, atol=1e-4)


def test_hooks_of_several_layers_and_outside_of_them(tiny):
  model, params = tiny
  hooks = {
    'hook_embed': edits.Scale(0.5),
    'blocks.0.hook_mlp_out': edits.Replace(0.0),
    'blocks.2.hook_mlp_out': [edits.Scale(2.0), edits.Add(1.0)],
    'blocks.-2.ln2.hook_scale': edits.Scale(2.0),
  }
  by_site = {
    'embed': edits.Scale(0.5),
    'mlp_out': (
      edits.Replace(0.0, _mask(0, 3)),
      edits.Scale(2.0, _mask(2, 3)),
      edits.Add(1.0, _mask(2, 3)),
    ),
    'ln2.scale': edits.Scale(2.0, _mask(1, 3)),
  }
  own = compat.run_with_hooks(model, params, TOKENS, hooks)
  np.testing.assert_allclose(own, _logits(model, params, by_site), rtol=1e-4, atol=1e-4)


def test_a_cached_run_holds_the_edited_activations(tiny):
  model, params = tiny
  _, cache = compat.run_with_cache(model, params, TOKENS, {'z1': edits.Replace(0.0)})
  assert np.abs(cache['z', 1]).max() == 0
  assert np.abs(cache['z', 0]).max() > 0


def test_patching_from_one_run_into_another_restores_its_logits(tiny):
  model, params = tiny
  other = (TOKENS + 1) % 31
  logits, cache = compat.run_with_cache(model, params, other)
  patch = {'blocks.2.hook_resid_post': edits.Replace(cache['resid_post', 2])}
  patched = compat.run_with_hooks(model, params, TOKENS, patch)
  np.testing.assert_allclose(patched, logits, rtol=1e-4, atol=1e-4)


def test_a_filter_keeps_what_it_names(tiny):
  model, params = tiny
  _, everything = compat.run_with_cache(model, params, TOKENS)
  names = ['blocks.1.attn.hook_pattern', 'hook_embed']
  for given in (names, lambda name: name in names):
    _, cache = compat.run_with_cache(model, params, TOKENS, names_filter=given)
    assert set(cache) == set(names)
    assert not cache.acts
    for name in names:
      np.testing.assert_allclose(cache[name], everything[name], rtol=1e-5, atol=1e-6)
  _, one = compat.run_with_cache(model, params, TOKENS, names_filter='resid_pre2')
  np.testing.assert_allclose(one['resid_pre', 2], everything['resid_pre', 2], atol=1e-5)
  with pytest.raises(KeyError, match='filtered out'):
    one['z', 0]


def test_decompositions_read_what_a_filter_kept(tiny):
  model, params = tiny
  parts = ('hook_embed', 'hook_pos_embed', 'hook_attn_out', 'hook_mlp_out')
  wanted = lambda name: name.endswith(parts)
  _, cache = compat.run_with_cache(model, params, TOKENS, names_filter=wanted)
  _, everything = compat.run_with_cache(model, params, TOKENS)
  rows = cache.decompose_resid()
  np.testing.assert_allclose(
    rows.sum(0), everything['resid_post', -1], rtol=1e-4, atol=1e-4
  )


def test_a_filter_prunes_the_compiled_program(tiny):
  model, params = tiny

  def run(names):
    def kept(params):
      cache = compat.run_with_cache(model, params, TOKENS, names_filter=names)[1]
      return cache.acts, cache.kept

    return jax.jit(kept).lower(params).compile().memory_analysis()

  one, every = run('hook_embed'), run(None)
  assert one.output_size_in_bytes < every.output_size_in_bytes / 4


def test_padding_passes_through(tiny):
  model, params = tiny
  mask = np.arange(7) >= np.array([[2], [0]])
  logits, cache = compat.run_with_cache(model, params, TOKENS, mask=mask)
  single = model.apply({'params': params}, TOKENS[:1, 2:])[0]
  np.testing.assert_allclose(logits[0, 2:], single[0], rtol=1e-4, atol=1e-4)
  assert np.abs(cache['pattern', 0][0, :, 2:, :2]).max() == 0


def test_normalized_hooks_are_edited_where_gains_are_folded(tiny):
  name = 'blocks.1.ln1.hook_normalized'
  with pytest.raises(ValueError, match=r'blocks\.1\.ln1\.hook_out'):
    compat.run_with_hooks(*tiny, TOKENS, {name: edits.Replace(0.0)})
  model, params = process(*tiny)
  own = compat.run_with_hooks(model, params, TOKENS, {name: edits.Replace(0.0)})
  by_site = {'ln1.normalized': edits.Replace(0.0, _mask(1, 3))}
  np.testing.assert_allclose(own, _logits(model, params, by_site), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures('unchecked_types')
def test_what_is_no_edit_is_refused(tiny):
  with pytest.raises(TypeError, match='neither an edit nor a function'):
    compat.to_edits({'z0': 3.0}, tiny[0].cfg)


def test_what_cannot_be_edited_says_so(tiny):
  model, params = tiny
  with pytest.raises(ValueError, match='can be read but not edited'):
    compat.to_edits({'blocks.0.attn.hook_result': edits.Replace(0.0)}, model.cfg)
  with pytest.raises(ValueError, match='Did you mean'):
    compat.to_edits({'blocks.0.hook_attn_ou': edits.Replace(0.0)}, model.cfg)
  with pytest.raises(ValueError, match='keeps nothing'):
    compat.run_with_cache(model, params, TOKENS, names_filter=lambda name: False)
