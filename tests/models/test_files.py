"""What is saved is what is loaded, and a folder that does not fit says why."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.flax import load_file, save_file

import interp_jax
from interp_jax.models import Tokenizer, list_models, load, save
from interp_jax.testing import tiny_model

OPTIONS = {
  'positions': 'rotary',
  'windows': (2, None, 3),
  'rotary_base': (9.0, 8.0, 7.0),
}


@pytest.fixture
def saved(tmp_path, tokenizer):
  """A model and the folder that holds it."""
  model, params = tiny_model(**OPTIONS, act='solu_ln', unembed_bias=True)
  save(tmp_path / 'model', model.cfg, params, tokenizer, dtype='float32')
  return model, params, tmp_path / 'model'


def test_a_float32_file_gives_back_the_same_model(saved, tokenizer):
  model, params, folder = saved
  got, got_params, got_tokenizer = load(folder)
  assert got == model
  assert got.cfg.windows == (2, None, 3)
  jax.tree.map(np.testing.assert_array_equal, got_params, params)
  assert got_tokenizer.encode('print') == tokenizer.encode('print')
  assert got_tokenizer.bos_id == tokenizer.bos_id


def test_files_hold_bfloat16_unless_told_otherwise(tmp_path, tokenizer):
  model, params = tiny_model()
  save(tmp_path, model.cfg, params, tokenizer)
  on_disk = load_file(tmp_path / 'model.safetensors')
  assert {leaf.dtype for leaf in on_disk.values()} == {jnp.dtype('bfloat16')}
  assert 'blocks.attn.W_Q' in on_disk
  _, got, _ = load(tmp_path)
  rounded = jax.tree.map(lambda p: p.astype('bfloat16').astype('float32'), params)
  jax.tree.map(np.testing.assert_array_equal, got, rounded)


def test_a_model_is_loaded_in_the_dtype_that_is_asked_for(saved):
  model, _, folder = saved
  got, params, _ = load(str(folder), dtype='bfloat16')
  assert got.cfg.dtype == got.cfg.param_dtype == 'bfloat16'
  gains = [params['ln_final']['w'], params['blocks']['ln1']['b']]
  assert {leaf.dtype for leaf in gains} == {jnp.dtype('float32')}
  weights = [params['embed']['W_E'], params['blocks']['attn']['W_Q']]
  assert {leaf.dtype for leaf in weights} == {jnp.dtype('bfloat16')}
  assert model.cfg.dtype == 'float32'


def test_saving_again_replaces(saved, tokenizer):
  model, params, folder = saved
  twice = jax.tree.map(lambda p: 2 * p, params)
  save(folder, model.cfg, twice, tokenizer, dtype='float32')
  jax.tree.map(np.testing.assert_array_equal, load(folder)[1], twice)


def test_a_wrong_name_lists_the_right_ones(monkeypatch, tmp_path, saved):
  embedded = tmp_path / 'embedded'
  embedded.mkdir()
  saved[2].rename(embedded / 'tiny-model')
  (embedded / 'no-model').mkdir()
  monkeypatch.setattr('interp_jax.models.files._embedded', lambda: embedded)
  assert list_models() == ['tiny-model']
  assert load('tiny-model')[0] == saved[0]
  with pytest.raises(
    ValueError, match=r"Did you mean 'tiny-model'\?.*Or give a folder"
  ):
    load('tiny-modle')


def test_the_package_exports_loading():
  assert interp_jax.load is load
  assert interp_jax.list_models is list_models


@pytest.mark.parametrize('name', ['config.json', 'model.safetensors'])
def test_a_missing_file_is_named(saved, name):
  *_, folder = saved
  (folder / name).unlink()
  with pytest.raises(ValueError, match=rf'(lacks|there is no) {name}'):
    load(folder)


def test_a_model_without_a_tokenizer_says_so_when_one_is_asked_for(saved):
  model, _, folder = saved
  (folder / 'tokenizer.json').unlink()
  got, _, tokenizer = load(folder)
  assert got == model
  with pytest.raises(ValueError, match=r'no tokenizer\.json.*token ids'):
    tokenizer.encode('print')


def test_a_config_of_another_format_is_refused(saved):
  *_, folder = saved
  edit_config(folder, format='other/1')
  with pytest.raises(ValueError, match=r"not of the format 'interp_jax\.model/1'"):
    load(folder)


def test_a_config_with_an_unknown_field_is_refused(saved):
  *_, folder = saved
  edit_config(folder, head_dims=3)
  with pytest.raises(ValueError, match=r"'head_dims'\. Did you mean 'head_dim'"):
    load(folder)


def test_weights_of_another_shape_are_refused(saved):
  *_, folder = saved
  edit_config(folder, vocab_size=32)
  with pytest.raises(ValueError, match=r'embed.W_E has shape \(31, 12\).*\(32, 12\)'):
    load(folder)


def test_weights_of_another_architecture_are_refused(saved):
  *_, folder = saved
  path = folder / 'model.safetensors'
  tensors = load_file(path)
  tensors['surplus'] = tensors.pop('unembed.W_U')
  save_file(tensors, path)
  with pytest.raises(
    ValueError, match=r"lacks \['unembed.W_U'\] and has \['surplus'\]"
  ):
    load(folder)


def edit_config(folder, **fields):
  path = folder / 'config.json'
  path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.fixture(scope='module')
def tokenizer():
  """A byte-level BPE tokenizer of a few merges, with a first token."""
  import tokenizers

  bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
  bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
  bpe.decoder = tokenizers.decoders.ByteLevel()
  trainer = tokenizers.trainers.BpeTrainer(
    vocab_size=280,
    special_tokens=['<|bos|>'],
    initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    show_progress=False,
  )
  bpe.train_from_iterator(['print(name) for name in names'] * 9, trainer)
  return Tokenizer(bpe)


TEXTS = [
  '',
  'print(name)\n\treturn  x',
  'naïve 你好 🙂',
  'a <|bos|> b',
  '\x00\r\n \u200b',
]


@pytest.mark.parametrize('text', TEXTS)
def test_text_survives_its_tokens(tokenizer, tmp_path, text):
  tokenizer.save(tmp_path / 'tokenizer.json')
  for one in (tokenizer, Tokenizer.from_file(tmp_path / 'tokenizer.json')):
    ids = one.encode(text)
    assert one.decode(ids) == text
    assert one.bos_id not in ids
    assert all(0 <= i < one.vocab_size for i in ids)


def test_the_first_token_comes_when_asked_for(tokenizer):
  ids = tokenizer.encode('name', bos=True)
  assert ids == [tokenizer.bos_id, *tokenizer.encode('name')]
  assert tokenizer.decode(ids) == '<|bos|>name'


def test_token_strings_are_the_tokens_one_by_one(tokenizer):
  ids = np.array(tokenizer.encode('print(name)', bos=True))
  strings = tokenizer.token_strings(ids)
  assert strings[0] == '<|bos|>'
  assert ''.join(strings[1:]) == 'print(name)'
  assert tokenizer.token_strings(tokenizer.encode('é')) in (['\ufffd', '\ufffd'], ['é'])


def test_a_tokenizer_without_a_first_token_says_so():
  import tokenizers

  bare = Tokenizer(tokenizers.Tokenizer(tokenizers.models.BPE()))
  assert bare.bos_id is None
  with pytest.raises(ValueError, match='has no such token'):
    bare.encode('x', bos=True)


def test_a_missing_tokenizer_file_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match=r'no such tokenizer\.json'):
    Tokenizer.from_file(tmp_path / 'tokenizer.json')


def test_weights_that_are_no_safetensors_file_are_refused(saved):
  _, _, folder = saved
  (folder / 'model.safetensors').write_bytes(b'not a tensor in sight')
  with pytest.raises(ValueError, match=r'model\.safetensors is not a safetensors file'):
    load(folder)
