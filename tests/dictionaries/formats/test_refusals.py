"""What is not understood is an error that names it, before anything large is read."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from interp_jax import dictionaries
from interp_jax.dictionaries import (
  Autoencoder,
  CrossLayerTranscoder,
  DictionaryConfig,
  JumpReLU,
  ReLU,
  TopK,
  Transcoder,
  check,
)
from interp_jax.dictionaries.formats.pickle_writer import write_pickle
from tests.dictionaries.formats.drawn import FEATURES, WIDTH, draw, inputs
from tests.dictionaries.formats.hostile import archive, calling
from tests.dictionaries.planted import small_config, small_trainer

WEIGHTS = {'sae_lens': 'sae_weights.safetensors', 'sparsify': 'sae.safetensors'}


@pytest.fixture(params=WEIGHTS)
def saved(request, tmp_path):
  given = DictionaryConfig(WIDTH, FEATURES, TopK(3))
  dictionaries.save_as(tmp_path, draw(given), request.param)
  return tmp_path, tmp_path / WEIGHTS[request.param], tmp_path / 'cfg.json'


def change(file, **fields):
  file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def test_a_field_that_is_not_known_is_named(saved):
  folder, _, config = saved
  change(config, soft_cap=3)
  with pytest.raises(ValueError, match=r"soft_cap=3.*ignore_fields=\['soft_cap'\]"):
    dictionaries.load(folder)
  assert dictionaries.load(folder, ignore_fields=['soft_cap']).config.width == WIDTH


def test_a_tensor_that_is_not_known_is_named(saved):
  folder, weights, _ = saved
  save_file(load_file(weights) | {'W_more': np.zeros(3)}, weights)
  with pytest.raises(ValueError, match=r"lacks none, and has \['W_more'\] beyond"):
    dictionaries.load(folder)


def test_a_tensor_that_is_missing_is_named(saved):
  folder, weights, _ = saved
  tensors = load_file(weights)
  del tensors['b_dec']
  save_file(tensors, weights)
  with pytest.raises(ValueError, match=r"lacks \['b_dec'\]"):
    dictionaries.load(folder)


def test_a_tensor_of_another_shape_is_named(saved):
  folder, weights, _ = saved
  tensors = load_file(weights)
  tensors['W_dec'] = tensors['W_dec'].T.copy()
  save_file(tensors, weights)
  with pytest.raises(ValueError, match=r'W_dec has shape \(8, 24\)'):
    dictionaries.load(folder)


def test_weights_that_are_cut_off_say_so(saved):
  folder, weights, _ = saved
  weights.write_bytes(weights.read_bytes()[:-10])
  with pytest.raises(ValueError, match='not a safetensors file'):
    dictionaries.load(folder)


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'architecture': 'standart'}, "Did you mean 'standard'"),
    ({'normalize_activations': 'batch_norm'}, 'Valid: none, layer_norm'),
    ({'normalize_activations': 'covariance_whitening'}, 'fold_activation_whitening'),
    ({'normalize_activations': 'expected_average_only_in'}, 'input_scale='),
    ({'reshape_activations': 'hook_q'}, 'Valid: none, hook_z'),
    ({'k': None}, "lacks 'k'"),
  ],
)
def test_values_that_nothing_computes_are_refused(tmp_path, fields, message):
  given = DictionaryConfig(WIDTH, FEATURES, TopK(3))
  dictionaries.save_as(tmp_path, draw(given), 'sae_lens')
  change(tmp_path / 'cfg.json', **fields)
  with pytest.raises(ValueError, match=message):
    dictionaries.load(tmp_path)


@pytest.mark.parametrize(
  ('flat', 'message'),
  [
    ({'activation_fn': 'tanh-relu'}, "activation_fn='tanh-relu'"),
    ({'finetuning_scaling_factor': True}, 'finetuning_scaling_factor'),
    ({'normalize_activations': True}, 'input_scale='),
  ],
)
def test_old_files_of_sae_lens_with_something_else_are_refused(tmp_path, flat, message):
  given = DictionaryConfig(WIDTH, FEATURES, ReLU())
  dictionaries.save_as(tmp_path, draw(given), 'sae_lens')
  old = {'d_in': WIDTH, 'd_sae': FEATURES, 'lr': 3e-4}
  (tmp_path / 'cfg.json').write_text(json.dumps(old | flat))
  with pytest.raises(ValueError, match=message):
    dictionaries.load(tmp_path)


def test_logarithms_of_thresholds_and_factors_of_one_are_of_old_files(tmp_path):
  written = draw(DictionaryConfig(WIDTH, FEATURES, JumpReLU()))
  dictionaries.save_as(tmp_path, written, 'sae_lens')
  weights = tmp_path / WEIGHTS['sae_lens']
  tensors = load_file(weights)
  tensors['log_threshold'] = np.log(tensors.pop('threshold'))
  tensors['scaling_factor'] = np.ones(FEATURES, np.float32)
  save_file(tensors, weights)
  read = dictionaries.load(tmp_path)
  np.testing.assert_allclose(read(inputs()), written(inputs()), rtol=1e-5, atol=1e-5)
  save_file(tensors | {'scaling_factor': np.full(FEATURES, 2.0)}, weights)
  with pytest.raises(ValueError, match='scaling_factor other than 1'):
    dictionaries.load(tmp_path)


@pytest.mark.parametrize('name', calling('x'))
def test_hostile_dictionaries_call_nothing(tmp_path, name):
  marker = tmp_path / 'marker'
  trainer = {'dict_class': 'AutoEncoder', 'activation_dim': 8, 'dict_size': 24}
  (tmp_path / 'config.json').write_text(json.dumps({'trainer': trainer}))
  archive(tmp_path / 'ae.pt', calling(marker)[name])
  archive(tmp_path / '3.pt', calling(marker)[name])
  with pytest.raises(ValueError, match='It was not run'):
    dictionaries.load(tmp_path)
  with pytest.raises(ValueError, match='It was not run'):
    dictionaries.load(tmp_path / '3.pt', format='openai')
  with pytest.raises(FileNotFoundError):
    dictionaries.load(tmp_path / '3.pt')
  assert not marker.exists()


def test_pickled_arrays_of_numpy_are_refused(tmp_path):
  np.savez(tmp_path / 'params.npz', W_enc=np.asarray([{}], object))
  with pytest.raises(ValueError, match='W_enc is pickled'):
    dictionaries.load(tmp_path)
  (tmp_path / 'params.npz').write_bytes(b'PK\x03\x04')
  with pytest.raises(ValueError, match='not an npz file'):
    dictionaries.load(tmp_path)


def test_a_state_dict_whose_k_is_another_is_refused(tmp_path):
  given = DictionaryConfig(WIDTH, FEATURES, TopK(3))
  dictionaries.save_as(tmp_path, draw(given), 'dictionary_learning')
  content = json.loads((tmp_path / 'config.json').read_text())
  content['trainer']['k'] = 4
  (tmp_path / 'config.json').write_text(json.dumps(content))
  with pytest.raises(ValueError, match='is of k=3, its config says 4'):
    dictionaries.load(tmp_path)
  content['trainer']['dict_class'] = 'AutoEncoderTopk'
  (tmp_path / 'config.json').write_text(json.dumps(content))
  with pytest.raises(ValueError, match="Did you mean 'AutoEncoderTopK'"):
    dictionaries.load(tmp_path)


def test_a_layer_that_is_missing_is_named(tmp_path):
  given = DictionaryConfig(WIDTH, FEATURES, ReLU(), CrossLayerTranscoder(3))
  dictionaries.save_as(tmp_path, draw(given), 'circuit_tracer')
  (tmp_path / 'W_dec_1.safetensors').unlink()
  with pytest.raises(ValueError, match=r'W_dec_1\.safetensors is missing'):
    dictionaries.load(tmp_path)


def test_a_config_that_would_run_code_is_refused(tmp_path):
  given = DictionaryConfig(WIDTH, FEATURES, ReLU(), Transcoder(), layer=1)
  dictionaries.save_as(tmp_path, draw(given), 'circuit_tracer')
  text = '!!python/object/apply:os.system ["true"]'
  (tmp_path / 'config.yaml').write_text(text)
  with pytest.raises(ValueError, match='is not YAML'):
    dictionaries.load(tmp_path)


def test_facts_that_nobody_asks_for_are_errors(saved, tmp_path):
  folder, _, _ = saved
  with pytest.raises(ValueError, match="Did you mean 'layer'"):
    dictionaries.load(folder, layers=3)
  with pytest.raises(ValueError, match="Did you mean 'sparsify'"):
    dictionaries.load(folder, format='sparsifi')
  own = tmp_path / 'own'
  dictionaries.save(own, draw(DictionaryConfig(WIDTH, FEATURES, ReLU())))
  with pytest.raises(ValueError, match='may be given nothing'):
    dictionaries.load(own, layer=3)
  with pytest.raises(ValueError, match=r'k=3: .* do not need it'):
    dictionaries.load(folder, k=3)


def test_sites_of_the_users_go_before_those_of_the_files(saved):
  folder, _, _ = saved
  found = dictionaries.load(folder, site='resid_mid', layer=4).config
  assert (found.site, found.layer) == ('resid_mid', 4)


# The options that foreign dictionaries have


def test_nothing_trains_with_normalized_inputs():
  with pytest.raises(ValueError, match='nothing trains with it'):
    check(small_config(normalize='layer_norm'), small_trainer())


def test_only_autoencoders_normalize_and_join_heads():
  with pytest.raises(ValueError, match="normalize='layer_norm' of a transcoder"):
    DictionaryConfig(8, 24, ReLU(), Transcoder(), normalize='layer_norm')
  with pytest.raises(ValueError, match='joins_heads=True of a cross_layer'):
    DictionaryConfig(8, 24, ReLU(), CrossLayerTranscoder(2), joins_heads=True)
  with pytest.raises(ValueError, match='Valid: none, layer_norm, constant_norm'):
    DictionaryConfig(8, 24, ReLU(), normalize='layernorm2')


def test_heads_are_joined_where_their_number_fits():
  raw = Autoencoder(subtract_b_dec=False)
  joined = draw(DictionaryConfig(WIDTH, FEATURES, JumpReLU(), raw, joins_heads=True))
  x = inputs((5, 2, 4))
  flat = x.reshape(6, 5, WIDTH)
  np.testing.assert_array_equal(joined(x), joined(flat).reshape(x.shape))
  np.testing.assert_array_equal(joined.encode(x), joined.encode(flat))
  assert joined.encode_sparse(x, 4)[0].shape == (6, 5, 4)
  with pytest.raises(ValueError, match=r'or heads \[H, K\]'):
    joined(inputs((5, 3, 4)))


def test_an_input_of_zeros_stays_finite_where_it_is_normalized():
  for how in ('layer_norm', 'constant_norm'):
    one = draw(DictionaryConfig(WIDTH, FEATURES, TopK(3), normalize=how))
    assert np.all(np.isfinite(one(np.zeros((2, WIDTH), np.float32))))


def test_what_torch_alone_could_open_is_no_dictionary(tmp_path):
  write_pickle(tmp_path / 'weights.pt', {'a': np.zeros(3)})
  with pytest.raises(FileNotFoundError, match='holds no dictionary'):
    dictionaries.load(tmp_path)
