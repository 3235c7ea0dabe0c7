"""A cache gives what the run computed, and its parts sum to the whole."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import compat
from interp_jax.core import SITES, site_names
from interp_jax.models.processing import process
from interp_jax.testing import tiny_model

TOKENS = np.random.default_rng(0).integers(0, 31, (2, 7))
RMS = {'norm': 'rmsnorm', 'positions': 'rotary', 'gated': True, 'mlp_bias': False}
MODELS = {
  'gpt2': {'unembed_bias': True},
  'llama': {**RMS, 'kv_heads': 2, 'qk_norm': 'head'},
  'gemma2': {**RMS, 'norm_placement': 'sandwich', 'tied': True, 'embed_scale': 2.0},
  'olmo2': {**RMS, 'norm_placement': 'post', 'qk_norm': 'width'},
  'bloom': {'positions': 'alibi', 'embed_norm': True},
  'neox': {'positions': 'rotary', 'parallel': True, 'token_types': 2},
  'mixtral': {**RMS, 'experts': 3, 'experts_per_token': 2},
  'mixture after norms': {
    **RMS,
    'norm_placement': 'sandwich',
    'experts': 3,
    'experts_per_token': 2,
  },
  'attn only': {'attn_only': True, 'mlp_width': 0},
  'solu': {'act': 'solu_ln'},
  'sandwich layernorm': {'norm_placement': 'sandwich'},
  'shortformer': {'positions': 'shortformer'},
  'final rms': {'final_rms': True},
  'no norm': {'norm': 'none'},
  'bert': {
    'norm_placement': 'residual',
    'embed_norm': True,
    'token_types': 2,
    'head': 'mlm',
    'causal': False,
    'tied': True,
    'unembed_bias': True,
  },
}
SUMS = [name for name in MODELS if name != 'bert']
close = functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-4)


@functools.cache
def _run(name):
  model, params = tiny_model(**MODELS[name])
  logits, acts = jax.jit(model.apply)({'params': params}, TOKENS)
  return model, params, logits, compat.ActivationCache(model.cfg, params, acts)


@pytest.mark.parametrize('name', MODELS)
def test_every_site_is_read_under_its_name(name):
  model, _, _, cache = _run(name)
  for site in site_names(model.cfg):
    for layer in range(model.cfg.layers) if SITES[site].layered else [None]:
      hook = compat.hook_name(site, layer, cfg=model.cfg)
      act = cache.acts[site] if layer is None else cache.acts[site][layer]
      np.testing.assert_array_equal(cache[hook], act)


@pytest.mark.parametrize('name', MODELS)
def test_everything_that_is_listed_can_be_read(name):
  cache = _run(name)[-1]
  assert len(cache) == len(list(cache)) > 30
  for hook, act in cache.items():
    assert act.ndim >= 2, hook
    assert hook in cache
  assert 'blocks.0.attn.hook_nothing' not in cache
  assert ('z', 7) not in cache


@pytest.mark.parametrize('name', MODELS)
def test_norms_are_read_before_their_gain_and_bias(name):
  model, params, _, cache = _run(name)
  for hook in [h for h in cache if h.endswith('hook_normalized') and '_norm' not in h]:
    if '.mlp.ln.' in hook:
      continue
    plain = compat.get_hook(hook, model.cfg).kind.removesuffix('.before_gain')
    layer = compat.get_hook(hook, model.cfg).layer
    norm = (params if layer is None else params['blocks'])[plain]
    w, b = norm['w'], norm.get('b', jnp.zeros_like(norm['w']))
    w, b = (w, b) if layer is None else (w[layer], b[layer])
    outer = compat.hook_name(f'{plain}.normalized', layer, cfg=model.cfg)
    close(cache[hook] * w + b, cache[outer])


@pytest.mark.parametrize('name', ['gpt2', 'llama', 'mixtral', 'bert', 'no norm'])
def test_logits_before_the_cap_are_what_the_unembedding_gives(name):
  *_, logits, cache = _run(name)
  close(cache['unembed.hook_out'], logits)


@pytest.mark.parametrize('name', SUMS)
def test_rows_of_every_decomposition_sum_to_the_stream(name):
  model, _, _, cache = _run(name)
  layers = model.cfg.layers
  neurons = not (model.cfg.experts or model.cfg.attn_only)
  ends = {None: cache['resid_post', -1], 1: cache['resid_pre', 1]}
  for layer, stream in ends.items():
    rows, labels = cache.decompose_resid(layer, return_labels=True)
    assert len(rows) == len(labels)
    close(rows.sum(0), stream)
    rows, labels = cache.get_full_resid_decomposition(
      layer, expand_neurons=neurons, return_labels=True
    )
    assert len(rows) == len(labels) == len(set(labels))
    close(rows.sum(0), stream)
    heads = cache.stack_head_results(layer, incl_remainder=True)
    assert len(heads) == (layer or layers) * model.cfg.heads + 1
    close(heads.sum(0), stream)
  if 'resid_mid' in site_names(model.cfg):
    middle = cache['resid_mid', 1]
    close(cache.decompose_resid(1, mlp_input=True).sum(0), middle)
    full = cache.get_full_resid_decomposition(1, True, expand_neurons=neurons)
    close(full.sum(0), middle)


@pytest.mark.parametrize('name', [name for name in SUMS if name != 'no norm'])
def test_attributions_sum_to_the_logit_without_biases(name):
  _, params, _, cache = _run(name)
  logits = cache['unembed.hook_out']
  bias = params.get('unembed', {}).get('b_U', jnp.zeros(31))
  if 'b' in params['ln_final']:
    bias = bias + params['ln_final']['b'] @ params['unembed']['W_U']
  attributions = cache.logit_attrs(cache.decompose_resid(), tokens=TOKENS)
  own = np.take_along_axis(logits - bias, TOKENS[..., None], -1)[..., 0]
  close(attributions.sum(0), own)
  last = cache.decompose_resid(pos_slice=-1)
  pair = cache.logit_attrs(last, np.array([3, 4]), np.array([5, 6]), pos_slice=-1)
  end = np.asarray(logits - bias)[np.arange(2), -1]
  close(pair.sum(0), end[[0, 1], [3, 4]] - end[[0, 1], [5, 6]])


@pytest.mark.parametrize('name', ['gpt2', 'gemma2', 'solu', 'no norm', 'final rms'])
def test_projecting_a_decomposition_is_decomposing_the_projection(name):
  cache = _run(name)[-1]
  onto = jnp.asarray(np.random.default_rng(1).normal(size=(12, 3)), jnp.float32)
  for options in (
    {'apply_ln': True},
    {'apply_ln': False},
    {'apply_ln': True, 'mlp_input': True, 'layer': 1},
    {'apply_ln': True, 'pos_slice': -1},
    {'apply_ln': True, 'expand_neurons': False, 'pos_slice': (1, 5)},
  ):
    whole = cache.get_full_resid_decomposition(**options)
    many = cache.get_full_resid_decomposition(**options, project_output_onto=onto)
    one = cache.get_full_resid_decomposition(**options, project_output_onto=onto[:, 0])
    close(many, whole @ onto)
    close(one, whole @ onto[:, 0])
  neurons = cache.stack_neuron_results(2, neuron_slice=[3, 5], incl_remainder=True)
  along = cache.stack_neuron_results(
    2, neuron_slice=[3, 5], incl_remainder=True, project_output_onto=onto
  )
  assert len(neurons) == 5
  close(along, neurons @ onto)


def test_accumulated_streams_end_in_what_the_logits_read():
  _, params, logits, cache = _run('gpt2')
  rows, labels = cache.accumulated_resid(apply_ln=True, return_labels=True)
  assert labels == ['0_pre', '1_pre', '2_pre', 'final_post']
  unembed = params['unembed']
  close(rows[-1] @ unembed['W_U'] + unembed['b_U'], logits)
  rows, labels = cache.accumulated_resid(1, incl_mid=True, return_labels=True)
  assert labels == ['0_pre', '0_mid', '1_pre']
  close(rows[1], cache['resid_mid', 0])
  assert cache.accumulated_resid(1, mlp_input=True).shape == (3, 2, 7, 12)


def test_norms_of_earlier_layers_read_with_the_divisor_of_the_run():
  model, params = process(*tiny_model())
  cache = compat.run_with_cache(model, params, TOKENS)[1]
  rows = cache.decompose_resid(1, apply_ln=True)
  close(rows.sum(0), cache['normalized', 1, 'ln1'])
  rows = cache.decompose_resid(1, mlp_input=True, apply_ln=True)
  close(rows.sum(0), cache['normalized', 1, 'ln2'])


def test_head_results_are_those_of_each_head():
  _, params, _, cache = _run('gpt2')
  rows, labels = cache.stack_head_results(return_labels=True)
  assert labels[5] == 'L1H1'
  close(rows[5], cache['result', 1][:, :, 1])
  writer = params['blocks']['attn']['W_O'][1, 1]
  close(rows[5], cache['z', 1][:, :, 1] @ writer)


def test_slices_of_the_batch_and_single_sequences():
  model, params, _, cache = _run('gpt2')
  second = cache.apply_slice_to_batch_dim(1)
  assert second['z', 0].shape == (7, 4, 4)
  close(second['z', 0], cache['z', 0][1])
  close(second.decompose_resid(), cache.decompose_resid()[:, 1])
  close(second.stack_head_results(pos_slice=-1), cache.stack_head_results()[:, 1, -1])
  full = cache.get_full_resid_decomposition(apply_ln=True, pos_slice=[1, 2])
  own = second.get_full_resid_decomposition(apply_ln=True, pos_slice=[1, 2])
  close(own, full[:, 1])
  pair = cache.apply_slice_to_batch_dim([1, 0])
  close(pair['resid_post', 2], cache['resid_post', 2][::-1])
  single = compat.run_with_cache(model, params, TOKENS[:1], remove_batch_dim=True)[1]
  close(single['pattern', 1], cache['pattern', 1][0])
  rows = single.decompose_resid(apply_ln=True)
  tokens = jnp.asarray(TOKENS[0])
  close(
    single.logit_attrs(single.decompose_resid(), tokens, has_batch_dim=False).sum(0),
    (rows * 0).sum((0, 2))
    + cache.logit_attrs(cache.decompose_resid(), TOKENS).sum(0)[0],
  )
  with pytest.raises(ValueError, match='2 rows'):
    cache.remove_batch_dim()
  with pytest.raises(ValueError, match='no batch axis'):
    second.apply_slice_to_batch_dim(0)


def test_rows_of_an_expert_are_those_of_the_tokens_that_pass_it():
  _, _, _, cache = _run('mixtral')
  choices = np.asarray(cache['blocks.1.mlp.hook_expert_indices'])
  neurons = np.asarray(cache['blocks.1.mlp.hook_expert_post'])
  rows = np.asarray(cache['blocks.1.mlp.experts.2.hook_post'])
  assert len(rows) == (choices == 2).sum()
  slot, batch, position = np.argwhere(np.moveaxis(choices, -1, 0) == 2)[0]
  np.testing.assert_array_equal(rows[0], neurons[batch, position, slot])
  weights = cache['blocks.1.mlp.hook_expert_weights']
  np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)


def test_stacked_activations_lead_with_layers():
  cache = _run('gpt2')[-1]
  assert cache.stack_activation('z').shape == (3, 2, 7, 4, 4)
  assert cache.stack_activation('scale', 2, 'ln1').shape == (2, 2, 7, 1)


def test_what_is_no_sum_or_has_no_norm_is_refused():
  with pytest.raises(ValueError, match='residual'):
    _run('bert')[-1].decompose_resid()
  assert _run('bert')[-1].accumulated_resid().shape == (4, 2, 7, 12)
  with pytest.raises(ValueError, match='post'):
    _run('olmo2')[-1].decompose_resid(1, apply_ln=True)
  with pytest.raises(ValueError, match='mixture'):
    _run('mixtral')[-1].get_full_resid_decomposition()
  cache = _run('gpt2')[-1]
  with pytest.raises(ValueError, match=r'0\.\.3'):
    cache.decompose_resid(4)
  with pytest.raises(ValueError, match='one token'):
    cache.logit_attrs(cache.decompose_resid(), np.arange(7))
  with pytest.raises(ValueError, match='give one of each'):
    cache.logit_attrs(cache.decompose_resid(), np.arange(2), 3)


def test_a_cache_can_be_made_and_read_inside_a_compiled_function():
  model, params, _, cache = _run('gpt2')

  @jax.jit
  def last_head(params, tokens):
    return compat.run_with_cache(model, params, tokens)[1]['result', 2][:, -1, 3]

  close(last_head(params, TOKENS), cache['result', 2][:, -1, 3])
  rows = jax.jit(lambda cache: cache.decompose_resid())(cache)
  close(rows, cache.decompose_resid())
