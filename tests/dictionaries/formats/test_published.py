"""Formats of weights that were published: the formulas of their papers in numpy.

Their libraries are compared with in `tests/peers`, where they can be installed.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from interp_jax import dictionaries, edits
from interp_jax.dictionaries.formats.pickle_writer import write_pickle
from interp_jax.testing.tiny import tiny_model
from tests.dictionaries.formats.drawn import FEATURES, WIDTH, inputs

CLOSE = {'rtol': 1e-5, 'atol': 1e-5}


def arrays(seed=0, width=WIDTH, features=FEATURES):
  """W_enc, b_enc, W_dec, b_dec, threshold."""
  rng = np.random.default_rng(seed)
  draw = lambda *shape: (rng.normal(size=shape) * 0.4).astype(np.float32)
  return {
    'W_enc': draw(width, features),
    'b_enc': draw(features),
    'W_dec': draw(features, width),
    'b_dec': draw(width),
    'threshold': np.abs(draw(features)),
  }


def jump(pre, threshold):
  return np.where(pre > threshold, np.maximum(pre, 0), 0)


def topk(pre, k):
  kth = np.sort(pre, -1)[..., -k, None]
  return np.where(pre >= kth, np.maximum(pre, 0), 0)


def assert_is(ours, x, codes, out):
  assert 0 < np.mean(codes != 0) < 1
  np.testing.assert_allclose(ours.encode(x), codes, **CLOSE)
  np.testing.assert_allclose(ours(x), out, **CLOSE)


# Gemma Scope


def gemma_scope(p, x):
  codes = jump(np.asarray(x) @ p['W_enc'] + p['b_enc'], p['threshold'])
  return codes, codes @ p['W_dec'] + p['b_dec']


@pytest.mark.parametrize('lower', [True, False])
@pytest.mark.parametrize(
  ('folder', 'site', 'layer', 'out_site'),
  [
    ('gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71', 'resid_post', 20, None),
    ('gemma-scope-9b-it-mlp/layer_3/width_16k/average_l0_7', 'mlp_out', 3, None),
    (
      'gemma-scope-2b-pt-transcoders/layer_5/width_16k/average_l0_41',
      'ln2.normalized',
      5,
      'mlp_out',
    ),
    ('somewhere/layer_5/width_16k/average_l0_41', None, 5, None),
  ],
)
def test_gemma_scope_is_its_formula(tmp_path, folder, site, layer, out_site, lower):
  p, x = arrays(), inputs()
  (tmp_path / folder).mkdir(parents=True)
  named = {n.replace('W', 'w') if lower else n: value for n, value in p.items()}
  np.savez(tmp_path / folder / 'params.npz', **named)
  ours = dictionaries.load(tmp_path / folder)
  assert_is(ours, x, *gemma_scope(p, x))
  found = ours.config
  assert (found.site, found.layer, found.out_site) == (site, layer, out_site)
  model = dictionaries.load_metadata(tmp_path / folder).get('model')
  assert model == {'2b-pt': 'gemma-2-2b', '9b-it': 'gemma-2-9b-it'}.get(folder[12:17])
  given = dictionaries.load(tmp_path / folder, site='resid_mid', layer=1).config
  assert (given.site, given.layer) == ('resid_mid', 1)


def test_gemma_scope_of_the_embedding_is_for_the_models_embedding(tmp_path):
  p, x = arrays(), inputs()
  folder = tmp_path / 'gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6'
  folder.mkdir(parents=True)
  np.savez(folder / 'params.npz', **p)
  codes, out = gemma_scope(p, x / WIDTH**0.5)
  # b_dec is not scaled: SAELens leaves it, too.
  out = (out - p['b_dec']) * WIDTH**0.5 + p['b_dec']
  ours = dictionaries.load(folder)
  assert_is(ours, x, codes, out)
  assert (ours.config.site, ours.config.layer) == ('embed', None)


def test_gemma_scope_of_attention_reads_heads_and_splices_into_a_model(tmp_path):
  model, params = tiny_model()
  heads = model.cfg.heads * model.cfg.head_dim
  p = arrays(width=heads)
  folder = tmp_path / 'gemma-scope-2b-pt-att/layer_1/width_16k/average_l0_71'
  folder.mkdir(parents=True)
  np.savez(folder / 'params.npz', **p)
  ours = dictionaries.load(folder)
  assert (ours.config.site, ours.config.layer) == ('z', 1)
  tokens = jnp.asarray([[1, 2, 3, 4]])
  _, acts = model.apply({'params': params}, tokens)
  flat = np.asarray(acts['z'][1]).reshape(1, 4, heads)
  edit = edits.Splice(ours, layer=ours.config.layer)
  logits, spliced = model.apply({'params': params}, tokens, {ours.config.site: edit})
  expected = gemma_scope(p, flat)[1]
  np.testing.assert_allclose(spliced['z'][1].reshape(1, 4, heads), expected, **CLOSE)
  np.testing.assert_array_equal(spliced['z'][0], acts['z'][0])
  assert jnp.all(jnp.isfinite(logits))


def test_gemma_scope_at_a_residual_site_splices_into_a_model(tmp_path):
  model, params = tiny_model()
  p = arrays(width=model.cfg.width)
  folder = tmp_path / 'gemma-scope-2b-pt-res/layer_1/width_16k/average_l0_71'
  folder.mkdir(parents=True)
  np.savez(folder / 'params.npz', **p)
  ours = dictionaries.load(folder)
  tokens = jnp.asarray([[1, 2, 3, 4]])
  _, acts = model.apply({'params': params}, tokens)
  edit = edits.Splice(ours, layer=ours.config.layer)
  _, spliced = model.apply({'params': params}, tokens, {ours.config.site: edit})
  expected = gemma_scope(p, acts['resid_post'][1])[1]
  np.testing.assert_allclose(spliced['resid_post'][1], expected, **CLOSE)


def test_gemma_scope_2_is_its_formula(tmp_path):
  p, x = arrays(), inputs()
  skip = arrays(1)['W_enc'][:, :WIDTH].copy()
  named = {n.replace('W', 'w'): value for n, value in p.items()}
  folder = tmp_path / 'resid_post_all' / 'layer_4_width_16k_l0_big'
  folder.mkdir(parents=True)
  save_file(named | {'affine_skip_connection': skip}, folder / 'params.safetensors')
  raw = {
    'architecture': 'jump_relu',
    'model_name': 'gemma-v3-1b-pt',
    'hf_hook_point_in': 'model.layers.4.pre_feedforward_layernorm.output',
    'hf_hook_point_out': 'model.layers.4.post_feedforward_layernorm.output',
  }
  (folder / 'config.json').write_text(json.dumps(raw))
  codes, out = gemma_scope(p, x)
  ours = dictionaries.load(folder)
  assert_is(ours, x, codes, out + np.asarray(x) @ skip)
  found = ours.config
  assert (found.site, found.layer, found.out_site) == ('ln2.normalized', 4, 'mlp_out')
  (folder / 'config.json').write_text(json.dumps(raw | {'architecture': 'relu'}))
  with pytest.raises(ValueError, match="only 'jump_relu'"):
    dictionaries.load(folder)


@pytest.mark.parametrize('affine', [True, False])
def test_cross_layer_transcoders_of_gemma_scope_2_are_their_formula(tmp_path, affine):
  layers, x = 3, inputs((3, WIDTH))
  rng = np.random.default_rng(0)
  out = np.zeros((len(x), layers, WIDTH), np.float32)
  codes = np.zeros((len(x), layers, FEATURES), np.float32)
  every = []
  for layer in range(layers):
    p = arrays(layer)
    w_dec = rng.normal(size=(FEATURES, layers, WIDTH)).astype(np.float32) * 0.4
    named = {n.replace('W', 'w'): value for n, value in p.items()} | {'w_dec': w_dec}
    codes[:, layer] = jump(
      np.asarray(x)[:, layer] @ p['W_enc'] + p['b_enc'], p['threshold']
    )
    written = np.einsum('bf,fmd->bmd', codes[:, layer], w_dec)
    out[:, layer:] += written[:, layer:]
    out[:, layer] += p['b_dec']
    if affine:
      named['affine_skip_connection'] = p['W_enc'][:, :WIDTH].copy()
      out[:, layer] += np.asarray(x)[:, layer] @ named['affine_skip_connection']
    save_file(named, tmp_path / f'params_layer_{layer}.safetensors')
    every.append(named)
  ours = dictionaries.load(tmp_path)
  assert_is(ours, x, codes, out)
  (tmp_path / 'whole').mkdir()
  stacked = {name: np.stack([part[name] for part in every]) for name in every[0]}
  save_file(stacked, tmp_path / 'whole' / 'params.safetensors')
  assert_is(dictionaries.load(tmp_path / 'whole'), x, codes, out)
  (tmp_path / 'whole' / 'params.safetensors').unlink()
  (tmp_path / 'params_layer_1.safetensors').unlink()
  with pytest.raises(ValueError, match=r'layers \[0, 2\]'):
    dictionaries.load(tmp_path)


# OpenAI


def openai_state(p, **words):
  return {
    'pre_bias': p['b_dec'],
    'latent_bias': p['b_enc'],
    'encoder.weight': p['W_enc'].T,
    'decoder.weight': p['W_dec'].T,
    'stats_last_nonzero': np.zeros(FEATURES, np.int64),
  } | words


def test_topk_of_openai_normalizes_with_the_unbiased_deviation(tmp_path):
  p, x = arrays(), np.asarray(inputs(), np.float64)
  words = {
    'activation': 'TopK',
    'activation_state_dict': {'k': 3, 'postact_fn': 'ReLU'},
  }
  folder = tmp_path / 'resid_delta_mlp_v5_32k' / 'autoencoders'
  folder.mkdir(parents=True)
  write_pickle(folder / '7.pt', openai_state(p, **words))
  mean, std = x.mean(-1, keepdims=True), x.std(-1, ddof=1, keepdims=True)
  rows = (x - mean) / (std + 1e-5)
  codes = topk((rows - p['b_dec']) @ p['W_enc'] + p['b_enc'], 3)
  out = (codes @ p['W_dec'] + p['b_dec']) * std + mean
  ours = dictionaries.load(folder)
  assert_is(ours, inputs(), codes, out)
  assert (ours.config.site, ours.config.layer) == ('mlp_out', 7)
  np.testing.assert_allclose(ours.decode(codes, like=inputs()), out, **CLOSE)
  values, indices = ours.encode_sparse(inputs())
  back = ours.decode_sparse(values, indices, like=inputs())
  np.testing.assert_allclose(back, out, **CLOSE)
  with pytest.raises(ValueError, match='like=x'):
    ours.decode(codes)


def test_relu_of_openai_does_not_normalize(tmp_path):
  p, x = arrays(), inputs()
  words = {'activation': 'ReLU', 'activation_state_dict': {}}
  write_pickle(tmp_path / '7.pt', openai_state(p, **words))
  codes = np.maximum((np.asarray(x) - p['b_dec']) @ p['W_enc'] + p['b_enc'], 0)
  ours = dictionaries.load(tmp_path / '7.pt')
  assert_is(ours, x, codes, codes @ p['W_dec'] + p['b_dec'])
  assert dictionaries.load_metadata(tmp_path / '7.pt')['foreign'] == words
  words['activation'] = 'Identity'
  write_pickle(tmp_path / '7.pt', openai_state(p, **words))
  with pytest.raises(ValueError, match="Unknown activation 'Identity'"):
    dictionaries.load(tmp_path / '7.pt')


# Llama-Scope, Qwen-Scope, crosscoders


@pytest.mark.parametrize('out', ['blocks.8.hook_resid_post', 'blocks.8.hook_mlp_out'])
def test_llama_scope_is_its_librarys_inference_mode(tmp_path, out):
  p, x = arrays(), np.asarray(inputs())
  norms = {'in': 6.3, 'out': 6.3 if out.endswith('post') else 3.4}
  content = {
    'hook_point_in': 'blocks.8.hook_resid_post',
    'hook_point_out': out,
    'd_model': WIDTH,
    'd_sae': FEATURES,
    'expansion_factor': 3,
    'act_fn': 'jumprelu',
    'jump_relu_threshold': 0.4,
    'norm_activation': 'dataset-wise',
    'dataset_average_activation_norm': norms,
    'sparsity_include_decoder_norm': True,
    'use_decoder_bias': True,
    'apply_decoder_bias_to_pre_encoder': False,
    'top_k': 50,
  }
  (tmp_path / 'checkpoints').mkdir()
  (tmp_path / 'hyperparams.json').write_text(json.dumps(content))
  tensors = {
    'encoder.weight': p['W_enc'].T.copy(),
    'encoder.bias': p['b_enc'],
    'decoder.weight': p['W_dec'].T.copy(),
    'decoder.bias': p['b_dec'],
  }
  save_file(tensors, tmp_path / 'checkpoints' / 'final.safetensors')
  scale_in, scale_out = (WIDTH**0.5 / norms[name] for name in ('in', 'out'))
  # In its units of training, rows of the decoder brought to norm 1 after unscaling.
  W_dec = p['W_dec'] * scale_in / scale_out
  lengths = np.linalg.norm(W_dec, axis=1)
  codes = (x @ p['W_enc'] + p['b_enc'] / scale_in) * lengths
  codes = jump(codes, 0.4)
  expected = codes @ (W_dec / lengths[:, None]) + p['b_dec'] / scale_out
  ours = dictionaries.load(tmp_path)
  assert_is(ours, inputs(), codes, expected)
  assert (ours.config.site, ours.config.layer) == ('resid_post', 8)


def test_qwen_scope_has_both_matrices_transposed(tmp_path):
  p, x = arrays(), np.asarray(inputs())
  folder = tmp_path / 'SAE-Res-Qwen3-8B-Base-W32K-L0_4'
  folder.mkdir()
  state = {n: p[n].T if p[n].ndim == 2 else p[n] for n in p if n != 'threshold'}
  write_pickle(folder / 'layer11.sae.pt', state)
  codes = topk(x @ p['W_enc'] + p['b_enc'], 4)
  ours = dictionaries.load(folder)
  assert_is(ours, inputs(), codes, codes @ p['W_dec'] + p['b_dec'])
  assert (ours.config.site, ours.config.layer) == ('resid_post', 11)
  assert dictionaries.load_metadata(folder)['model'] == 'Qwen3-8B-Base'
  write_pickle(tmp_path / 'layer1.sae.pt', state)
  with pytest.raises(ValueError, match='Give it: k=50'):
    dictionaries.load(tmp_path / 'layer1.sae.pt')
  given = dictionaries.load(tmp_path / 'layer1.sae.pt', k=2)
  assert given.config.activation.k == 2


def test_crosscoders_are_their_formula(tmp_path):
  rng = np.random.default_rng(0)
  draw = lambda *shape: (rng.normal(size=shape) * 0.4).astype(np.float32)
  p = {'W_enc': draw(2, WIDTH, FEATURES), 'W_dec': draw(FEATURES, 2, WIDTH)}
  p |= {'b_enc': draw(FEATURES), 'b_dec': draw(2, WIDTH)}
  write_pickle(tmp_path / 'cc_weights.pt', p)
  content = {'hook_point': 'blocks.14.hook_resid_pre', 'model_name': 'gemma-2-2b'}
  (tmp_path / 'cfg.json').write_text(json.dumps(content))
  x = inputs((2, WIDTH))
  codes = np.maximum(np.einsum('bsd,sdf->bf', x, p['W_enc']) + p['b_enc'], 0)
  out = np.einsum('bf,fsd->bsd', codes, p['W_dec']) + p['b_dec']
  ours = dictionaries.load(tmp_path)
  assert_is(ours, x, codes, out)
  assert (ours.config.site, ours.config.layer) == ('resid_pre', 14)


# Normalization in general


def test_a_normalizing_dictionary_splices_jits_and_survives_a_file(tmp_path):
  p = arrays()
  words = {'activation': 'TopK', 'activation_state_dict': {'k': 3}}
  write_pickle(tmp_path / '0.pt', openai_state(p, **words))
  ours = dictionaries.load(tmp_path / '0.pt')
  x = inputs()
  np.testing.assert_allclose(jax.jit(lambda d, x: d(x))(ours, x), ours(x), **CLOSE)
  dictionaries.save(tmp_path / 'own', ours)
  np.testing.assert_array_equal(dictionaries.load(tmp_path / 'own')(x), ours(x))
  edits.save(tmp_path / 'e', {'resid_post': edits.Splice(ours, layer=0)})
  (splice,) = edits.load(tmp_path / 'e')['resid_post']
  np.testing.assert_array_equal(splice.fn(x), ours(x))
