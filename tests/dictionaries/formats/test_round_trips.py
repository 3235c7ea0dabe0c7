"""What is written in a format is read from it: the same config, codes and outputs."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import dictionaries
from interp_jax.dictionaries import (
  FORMATS,
  AbsTopK,
  Autoencoder,
  BatchTopK,
  Crosscoder,
  CrossLayerTranscoder,
  DictionaryConfig,
  Gated,
  GroupMax,
  JumpReLU,
  ReLU,
  TopK,
  Transcoder,
)
from tests.dictionaries.formats.drawn import (
  FEATURES,
  WIDTH,
  draw,
  inputs,
  pursuit,
  temporal,
)

RAW = Autoencoder(subtract_b_dec=False)
MLP = {'site': 'ln2.normalized', 'layer': 3, 'out_site': 'mlp_out', 'out_layer': 3}
ACROSS = {'site': 'ln2.normalized', 'out_site': 'mlp_out'}
RESID = {'site': 'resid_post', 'layer': 3}


def config(activation, wiring=None, **fields):
  wiring = wiring or Autoencoder()
  return DictionaryConfig(WIDTH, FEATURES, activation, wiring, **fields)


CASES = [
  ('interp_jax', config(TopK(3), normalize='constant_norm')),
  ('sae_lens', config(ReLU(), **RESID)),
  ('sae_lens', config(ReLU(), RAW, normalize='constant_norm')),
  ('sae_lens', config(Gated(), **RESID)),
  ('sae_lens', config(JumpReLU(), RAW, joins_heads=True, site='z', layer=1)),
  ('sae_lens', config(TopK(3), normalize='layer_norm')),
  ('sae_lens', config(AbsTopK(3))),
  ('sae_lens', config(ReLU(), Transcoder(5), **MLP)),
  ('sae_lens', config(ReLU(), Transcoder(5, use_skip=True), **MLP)),
  ('sae_lens', config(JumpReLU(), Transcoder(5), **MLP)),
  ('sae_lens', config(JumpReLU(), Transcoder(WIDTH, use_skip=True), **MLP)),
  ('sparsify', config(TopK(3))),
  ('sparsify', config(GroupMax(4))),
  ('sparsify', config(TopK(3), Transcoder())),
  ('sparsify', config(GroupMax(4), Transcoder(use_skip=True))),
  ('dictionary_learning', config(ReLU(), RAW)),
  ('dictionary_learning', config(Gated(), **RESID)),
  ('dictionary_learning', config(TopK(3), **RESID)),
  ('dictionary_learning', config(JumpReLU(), RAW)),
  ('openai', config(TopK(3), layer=2, normalize='layer_norm')),
  ('openai', config(ReLU(), layer=2)),
  ('qwen_scope', config(TopK(3), RAW, site='resid_post', layer=11)),
  ('circuit_tracer', config(ReLU(), Transcoder(WIDTH), **MLP)),
  ('circuit_tracer', config(JumpReLU(), Transcoder(WIDTH, use_skip=True), **MLP)),
  ('circuit_tracer', config(ReLU(), CrossLayerTranscoder(3), **ACROSS)),
  ('circuit_tracer', config(JumpReLU(), CrossLayerTranscoder(2), **ACROSS)),
]


def names(case):
  if not isinstance(case, tuple):
    return None
  return f'{case[0]}-{case[1].wiring.name}-{case[1].activation.name}'


@pytest.mark.parametrize('case', CASES, ids=names)
def test_what_is_written_is_read(tmp_path, case):
  name, given = case
  written = draw(given)
  dictionaries.save_as(tmp_path / 'd', written, name, {'model': 'toy', 'context': 64})
  facts = {'k': 3} if name == 'qwen_scope' else {}
  read = dictionaries.load(tmp_path / 'd', **facts)
  assert read.config == given
  for one, other in zip(
    jax.tree.leaves(read.params), jax.tree.leaves(written.params), strict=True
  ):
    np.testing.assert_array_equal(one, other)


def test_one_threshold_of_all_features_is_written_as_one(tmp_path):
  written = draw(config(JumpReLU()))
  one = {'threshold': jnp.full_like(written.params['threshold'], 0.5)}
  written = dataclasses.replace(written, params=written.params | one)
  dictionaries.save_as(tmp_path, written, 'dictionary_learning')
  read = dictionaries.load(tmp_path)
  assert read.config == written.config
  np.testing.assert_array_equal(read.params['threshold'], one['threshold'])
  np.testing.assert_array_equal(read(inputs()), written(inputs()))


@pytest.mark.parametrize('name', ['sae_lens', 'dictionary_learning'])
def test_model_and_context_survive(tmp_path, name):
  metadata = {'model': 'toy', 'context': 64}
  dictionaries.save_as(tmp_path, draw(config(TopK(3), **RESID)), name, metadata)
  found = dictionaries.load_metadata(tmp_path)
  foreign = found.pop('foreign')
  assert found == metadata | {'format': name}
  assert json.dumps(foreign)


@pytest.mark.parametrize('name', FORMATS)
def test_a_format_can_be_asked_for(tmp_path, name):
  with pytest.raises(FileNotFoundError, match=f'no dictionary of the format {name}'):
    dictionaries.load(tmp_path, format=name)


def test_dictionaries_of_float16_stay_so(tmp_path):
  whole = draw(config(TopK(3)))
  for dtype in (jnp.bfloat16, jnp.float16):
    cast = jax.tree.map(lambda p, dtype=dtype: p.astype(dtype), whole)
    for name in ('sae_lens', 'dictionary_learning'):
      dictionaries.save_as(tmp_path / dtype.__name__ / name, cast, name)
      read = dictionaries.load(tmp_path / dtype.__name__ / name)
      np.testing.assert_array_equal(read.params['W_dec'], cast.params['W_dec'])
      assert read.params['W_dec'].dtype == dtype


def test_matching_pursuit_survives(tmp_path):
  written = pursuit(max_atoms=5, residual_threshold=0.5, stop_on_duplicate=False)
  dictionaries.save_as(tmp_path, written, 'sae_lens')
  read = dictionaries.load(tmp_path)
  assert dataclasses.replace(read, params=0) == dataclasses.replace(written, params=0)
  np.testing.assert_array_equal(read(inputs()), written(inputs()))


@pytest.mark.parametrize(
  'settings',
  [
    {'k': 3},
    {'tied': False, 'subtract_b_dec': False, 'normalize': 'constant_norm'},
    {'layers': 1, 'input_scale': 0.25},
  ],
)
def test_temporal_autoencoders_survive(tmp_path, settings):
  written, x = temporal(**settings), inputs((5, WIDTH))
  dictionaries.save_as(tmp_path, written, 'sae_lens')
  read = dictionaries.load(tmp_path)
  assert dataclasses.replace(read, params=0) == dataclasses.replace(written, params=0)
  np.testing.assert_array_equal(read(x), written(x))


def test_layers_written_one_by_one_are_read_together(tmp_path):
  given = {'site': 'ln2.normalized', 'out_site': 'mlp_out'}
  for layer in (10, 9, 2):
    place = given | {'layer': layer, 'out_layer': layer}
    one = draw(config(ReLU(), Transcoder(WIDTH), **place), layer)
    dictionaries.save_as(tmp_path, one, 'circuit_tracer')
  found = dictionaries.load_all(tmp_path)
  assert [d.config.layer for d in found.values()] == [2, 9, 10]
  assert next(iter(found)) == 'layer_2.safetensors'
  with pytest.raises(ValueError, match=r'holds 3 dictionaries.*layer_2.*load_all'):
    dictionaries.load(tmp_path)
  assert dictionaries.load(tmp_path / 'layer_9.safetensors').config.layer == 9


def test_tied_dictionaries_are_written_with_both_matrices(tmp_path):
  written = draw(config(ReLU(), Autoencoder(tied=True)))
  dictionaries.save_as(tmp_path, written, 'sae_lens')
  read = dictionaries.load(tmp_path)
  np.testing.assert_allclose(read(inputs()), written(inputs()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  ('name', 'given', 'message'),
  [
    ('sae_lens', config(BatchTopK(3.0)), 'batch: write the exported'),
    ('sae_lens', config(GroupMax(4)), 'no architecture for'),
    ('sae_lens', config(TopK(3), Transcoder()), 'no architecture for'),
    ('sae_lens', config(ReLU(), Crosscoder()), 'crosscoder with activation'),
    ('sparsify', config(ReLU()), 'topk or groupmax'),
    ('sparsify', config(TopK(3), Transcoder(5)), 'one width'),
    ('sparsify', config(TopK(3), normalize='layer_norm'), 'no place for input'),
    ('dictionary_learning', config(TopK(3), RAW), 'with subtracting it'),
    ('dictionary_learning', config(JumpReLU()), 'one threshold for all'),
    ('dictionary_learning', config(ReLU(), normalize='layer_norm'), 'no place for'),
    ('openai', config(TopK(3)), 'whose inputs it normalizes'),
    ('openai', config(ReLU(), joins_heads=True), 'whose inputs it normalizes'),
    ('qwen_scope', config(TopK(3)), 'do not subtract b_dec'),
    ('circuit_tracer', config(ReLU(), Transcoder()), 'with the layer in their config'),
    ('circuit_tracer', config(ReLU(), CrossLayerTranscoder(2, True)), 'without a skip'),
    ('gemma_scope', config(JumpReLU(), RAW), 'is read, not written'),
    ('sae_lense', config(ReLU()), "Did you mean 'sae_lens'"),
  ],
)
def test_what_a_format_cannot_hold_is_not_written(tmp_path, name, given, message):
  with pytest.raises(ValueError, match=message):
    dictionaries.save_as(tmp_path, draw(given), name)
  assert not list(tmp_path.iterdir())


def test_pursuit_that_sae_lens_does_not_do_is_not_written(tmp_path):
  with pytest.raises(ValueError, match='orthogonal=False'):
    dictionaries.save_as(tmp_path, pursuit(orthogonal=True), 'sae_lens')
  with pytest.raises(ValueError, match="format='sae_lens'"):
    dictionaries.save_as(tmp_path, pursuit(), 'interp_jax')
