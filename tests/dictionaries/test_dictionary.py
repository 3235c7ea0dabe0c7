import json

import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import dictionaries, edits
from interp_jax.dictionaries import DictionaryConfig, ReLU, TopK
from tests.dictionaries.planted import codes_of, outputs_of, random_dictionary


@pytest.fixture
def x():
  return jnp.asarray(np.random.default_rng(1).normal(size=(3, 5, 8)), jnp.float32)


def numpy_forward(dictionary, x):
  p = {k: np.asarray(v, np.float64) for k, v in dictionary.params.items()}
  pre = (np.asarray(x, np.float64) - p['b_dec']) @ p['W_enc'] + p['b_enc']
  codes = np.maximum(pre, 0)
  if isinstance(dictionary.config.activation, TopK):
    kth = np.sort(pre, -1)[..., -dictionary.config.activation.k, None]
    codes = np.where(pre >= kth, codes, 0)
  return codes, codes @ p['W_dec'] + p['b_dec']


@pytest.mark.parametrize('activation', [ReLU(), TopK(4)])
def test_a_dictionary_is_its_formula(x, activation):
  dictionary = random_dictionary(activation)
  codes, out = numpy_forward(dictionary, x)
  np.testing.assert_allclose(codes_of(dictionary, x), codes, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(dictionary.decode(codes), out, rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(outputs_of(dictionary, x), out, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('activation', [ReLU(), TopK(4)])
def test_sparse_codes_decode_as_dense_ones_do(x, activation):
  dictionary = random_dictionary(activation)
  values, indices = dictionary.encode_sparse(x, 4 if activation == TopK(4) else 20)
  assert values.shape == indices.shape == (*x.shape[:-1], values.shape[-1])
  np.testing.assert_allclose(
    dictionary.decode_sparse(values, indices),
    outputs_of(dictionary, x),
    rtol=1e-4,
    atol=1e-4,
  )


@pytest.mark.parametrize('activation', [ReLU(), TopK(4)])
def test_a_saved_dictionary_is_the_loaded_one(tmp_path, x, activation):
  dictionary = random_dictionary(activation)
  dictionaries.save(tmp_path / 'd', dictionary, {'fvu': 0.25})
  loaded = dictionaries.load(tmp_path / 'd')
  assert loaded.config == dictionary.config
  np.testing.assert_array_equal(outputs_of(loaded, x), outputs_of(dictionary, x))
  assert dictionaries.load_metadata(tmp_path / 'd') == {'fvu': 0.25}
  names = {path.name for path in (tmp_path / 'd').iterdir()}
  assert names == {'model.safetensors', 'config.json'}


def test_loading_what_is_not_a_dictionary_says_so(tmp_path, dictionary):
  with pytest.raises(FileNotFoundError, match='holds no dictionary'):
    dictionaries.load(tmp_path)
  dictionaries.save(tmp_path, dictionary)
  content = json.loads((tmp_path / 'config.json').read_text())
  content['config']['features'] = 21
  (tmp_path / 'config.json').write_text(json.dumps(content))
  with pytest.raises(ValueError, match='not of one dictionary'):
    dictionaries.load(tmp_path)
  (tmp_path / 'config.json').write_text('{"format": "else"}')
  with pytest.raises(ValueError, match='format is'):
    dictionaries.load(tmp_path)


def test_a_dictionary_is_a_pytree_that_jit_takes(dictionary, x):
  out = outputs_of(dictionary, x)
  np.testing.assert_allclose(out, dictionary(x), rtol=1e-5, atol=1e-5)


def test_edits_with_a_dictionary_survive_a_file(tmp_path, dictionary, x):
  edits.save(tmp_path / 'e', {'resid_post': edits.Splice(dictionary, layer=1)})
  (splice,) = edits.load(tmp_path / 'e')['resid_post']
  np.testing.assert_array_equal(splice.fn(x), dictionary(x))


def test_configs_survive_json():
  config = DictionaryConfig(8, 16, TopK(3), site='resid_post', layer=2)
  assert DictionaryConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'wiring': 'autoencodr'}, "Did you mean 'autoencoder'"),
    ({'activation': {'name': 'topq'}}, 'Valid: relu, gated'),
    ({'activation': {'name': 'topk', 'q': 1}}, 'attribute of activation'),
    ({'activation': {'name': 'topk', 'k': 17}}, 'between 1 and 16'),
    ({'features': 0}, 'at least 1'),
    ({'fetures': 1}, "Did you mean 'features'"),
  ],
)
def test_a_wrong_config_says_what_is_right(changes, message):
  good = {'width': 8, 'features': 16, 'activation': {'name': 'topk', 'k': 3}}
  with pytest.raises(ValueError, match=message):
    DictionaryConfig.from_dict(good | changes)


def test_a_wrong_width_says_both(dictionary):
  with pytest.raises(ValueError, match=r'reads \[8\] was given'):
    dictionary.encode(jnp.zeros((2, 9)))


def test_sparse_codes_of_relu_need_a_number(dictionary, x):
  with pytest.raises(ValueError, match='between 1 and 20'):
    random_dictionary(ReLU()).encode_sparse(x)
  with pytest.raises(ValueError, match='between 1 and 4'):
    dictionary.encode_sparse(x, 5)
