"""Dictionaries compute what the library that wrote them computes, and the reverse.

Weights are random, of the real layouts, with biases and thresholds that matter.
"""

import dataclasses
import importlib
import json
import pathlib
import sys
import types
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from interp_jax import dictionaries
from interp_jax.dictionaries import (
  AbsTopK,
  Autoencoder,
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

torch = pytest.importorskip('torch')
pytestmark = pytest.mark.peers

OUT = 5
BOTH = {'rtol': 1e-5, 'atol': 1e-5}


def tensor(x):
  return torch.tensor(np.array(x))


def filled(module, seed=0):
  """A module all of whose parameters have been drawn."""
  generator = torch.Generator().manual_seed(seed)
  with torch.no_grad():
    for name, parameter in module.named_parameters():
      parameter.normal_(0, 0.4, generator=generator)
      if name.endswith('threshold'):
        parameter.abs_()
  return module.eval()


def assert_same(ours, codes, out, x, sparse=True):
  codes, out = codes.detach().numpy(), out.detach().numpy()
  if sparse:
    assert 0 < np.mean(codes != 0) < 1
  np.testing.assert_allclose(ours.encode(x), codes, **BOTH)
  np.testing.assert_allclose(ours(x), out, **BOTH)


# SAELens


def sae_lens():
  return pytest.importorskip('sae_lens')


ARCHITECTURES = {
  'standard': {},
  'gated': {},
  'topk': {'k': 3},
  'abstopk': {'k': 3},
  'jumprelu': {},
  'transcoder': {'d_out': OUT, 'apply_b_dec_to_input': False},
  'skip_transcoder': {'d_out': OUT, 'apply_b_dec_to_input': False},
  'jumprelu_transcoder': {'d_out': OUT, 'apply_b_dec_to_input': False},
  'jumprelu_skip_transcoder': {'d_out': OUT, 'apply_b_dec_to_input': False},
  'matching_pursuit': {'residual_threshold': 0.4},
  'temporal': {
    'n_heads': 2,
    'n_attn_layers': 2,
    'bottleneck_factor': 6,
    'kval_topk': 3,
  },
}


def sae_of(architecture, **settings):
  from sae_lens.registry import get_sae_class

  cls, cfg = get_sae_class(architecture)
  given = {'d_in': WIDTH, 'd_sae': FEATURES} | settings
  return filled(cls(cfg(**given)))


def shaped(architecture):
  return inputs((5, WIDTH)) if architecture == 'temporal' else inputs()


VARIANTS = [
  *ARCHITECTURES.items(),
  ('standard', {'normalize_activations': 'layer_norm'}),
  ('jumprelu', {'normalize_activations': 'constant_norm_rescale'}),
  ('gated', {'apply_b_dec_to_input': False}),
  ('topk', {'k': 3, 'rescale_acts_by_decoder_norm': True}),
  ('abstopk', {'k': 3, 'rescale_acts_by_decoder_norm': True}),
  ('matching_pursuit', {'apply_b_dec_to_input': False, 'max_iterations': 3}),
  (
    'matching_pursuit',
    {'stop_on_duplicate_support': False, 'residual_threshold': 0.0},
  ),
  (
    'temporal',
    {'tied_weights': False, 'sae_diff_type': 'relu', 'bottleneck_factor': 6},
  ),
  (
    'temporal',
    {
      'normalize_activations': 'constant_scalar_rescale',
      'activation_normalization_factor': 0.3,
      'apply_b_dec_to_input': False,
    },
  ),
]


@pytest.mark.parametrize(('architecture', 'settings'), VARIANTS)
def test_every_architecture_of_sae_lens(tmp_path, architecture, settings):
  sae_lens()
  settings = ARCHITECTURES[architecture] | settings
  if architecture == 'temporal':
    settings = {'n_heads': 2} | settings
  theirs = sae_of(architecture, **settings)
  if architecture == 'matching_pursuit':
    # It takes rows to be of length 1; with others its residual grows.
    with torch.no_grad():
      theirs.W_dec /= theirs.W_dec.norm(dim=1, keepdim=True)
  theirs.cfg.metadata.hook_name = 'blocks.3.hook_resid_post'
  theirs.save_model(tmp_path)
  x = shaped(architecture)
  with torch.no_grad():
    codes, out = theirs.encode(tensor(x)), theirs(tensor(x))
  ours = dictionaries.load(tmp_path)
  assert_same(ours, codes, out, x)


@pytest.mark.parametrize('rescale', [True, False])
@pytest.mark.parametrize('architecture', ['batchtopk', 'matryoshka_batchtopk'])
def test_batchtopk_of_sae_lens_at_inference_and_as_a_checkpoint(
  tmp_path, architecture, rescale
):
  lens = sae_lens()
  from sae_lens.registry import get_sae_training_class

  cls, cfg = get_sae_training_class(architecture)
  given = {'d_in': WIDTH, 'd_sae': FEATURES, 'k': 3}
  given |= {'rescale_acts_by_decoder_norm': rescale}
  if architecture.startswith('m'):
    given['matryoshka_widths'] = [8, FEATURES]
  training = filled(cls(cfg(**given)))
  training.topk_threshold = torch.tensor(0.7, dtype=torch.double)
  training.save_model(tmp_path / 'checkpoint')
  training.save_inference_model(tmp_path / 'final')
  final = lens.SAE.load_from_disk(tmp_path / 'final')
  x = inputs()
  codes, out = final.encode(tensor(x)), final(tensor(x))
  for folder in ('checkpoint', 'final'):
    assert_same(dictionaries.load(tmp_path / folder), codes, out, x)


def test_all_heads_as_one_of_sae_lens(tmp_path):
  sae_lens()
  theirs = sae_of('standard', reshape_activations='hook_z')
  theirs.cfg.metadata.hook_name = 'blocks.2.attn.hook_z'
  theirs.save_model(tmp_path)
  ours = dictionaries.load(tmp_path)
  assert (ours.config.site, ours.config.layer) == ('z', 2)
  x = inputs((5, 2, WIDTH // 2))
  codes = theirs.encode(tensor(x))
  assert_same(ours, codes, theirs(tensor(x)), x)
  assert ours(x).shape == x.shape


def test_the_scale_of_inputs_of_sae_lens(tmp_path):
  sae_lens()
  how = {'normalize_activations': 'expected_average_only_in'}
  theirs = sae_of('jumprelu', **how)
  theirs.save_model(tmp_path)
  with pytest.raises(ValueError, match='input_scale='):
    dictionaries.load(tmp_path)
  theirs.fold_activation_norm_scaling_factor(0.3)
  x = inputs()
  codes, out = theirs.encode(tensor(x)), theirs(tensor(x))
  assert_same(dictionaries.load(tmp_path, input_scale=0.3), codes, out, x)
  (tmp_path / 'activation_scaler.json').write_text('{"scaling_factor": 0.3}')
  assert_same(dictionaries.load(tmp_path), codes, out, x)


@pytest.mark.parametrize(
  'flat',
  [
    {'activation_fn_str': 'relu', 'hook_point': 'blocks.1.hook_resid_pre'},
    {
      'activation_fn_str': 'topk',
      'activation_fn_kwargs': {'k': 3},
      'hook_name': 'blocks.1.hook_resid_pre',
    },
    {'architecture': 'gated', 'hook_name': 'blocks.1.hook_resid_pre'},
    {
      'architecture': 'jumprelu',
      'apply_b_dec_to_input': False,
      'normalize_activations': 'layer_norm',
      'hook_name': 'blocks.1.hook_resid_pre',
    },
  ],
)
def test_flat_configs_of_sae_lens(tmp_path, flat):
  lens = sae_lens()
  kind = 'topk' if 'activation_fn_kwargs' in flat else flat.get('architecture')
  theirs = sae_of(kind or 'standard', **({'k': 3} if kind == 'topk' else {}))
  theirs.save_model(tmp_path)
  old = {'d_in': WIDTH, 'd_sae': FEATURES, 'dtype': 'float32', 'device': 'cpu'}
  old |= {'model_name': 'gpt2-small', 'lr': 1e-3, 'context_size': 128} | flat
  (tmp_path / 'cfg.json').write_text(json.dumps(old))
  theirs = lens.SAE.load_from_disk(tmp_path)
  x = inputs()
  ours = dictionaries.load(tmp_path)
  assert_same(ours, theirs.encode(tensor(x)), theirs(tensor(x)), x)
  assert (ours.config.site, ours.config.layer) == ('resid_pre', 1)
  assert dictionaries.load_metadata(tmp_path)['context'] == 128


def config(activation, wiring=None, **fields):
  wiring = wiring or Autoencoder()
  return DictionaryConfig(WIDTH, FEATURES, activation, wiring, **fields)


RAW = Autoencoder(subtract_b_dec=False)
WRITTEN = [
  draw(config(ReLU(), site='resid_post', layer=3)),
  draw(config(Gated(), RAW)),
  draw(config(TopK(3), normalize='layer_norm')),
  draw(config(AbsTopK(3))),
  draw(config(JumpReLU(), RAW, normalize='constant_norm')),
  draw(config(ReLU(), Transcoder(OUT))),
  draw(config(JumpReLU(), Transcoder(OUT, use_skip=True))),
  pursuit(residual_threshold=0.4),
  temporal(k=3),
  temporal(tied=False, input_scale=0.3),
]


@pytest.mark.parametrize('ours', WRITTEN, ids=lambda d: type(d).__name__)
def test_sae_lens_computes_what_we_wrote(tmp_path, ours):
  lens = sae_lens()
  dictionaries.save_as(tmp_path, ours, 'sae_lens')
  theirs = lens.SAE.load_from_disk(tmp_path)
  x = inputs((5, WIDTH)) if hasattr(ours, 'heads') else inputs()
  sparse = not hasattr(ours, 'heads')
  codes, out = theirs.encode(tensor(x)), theirs(tensor(x))
  assert_same(ours, codes, out, x, sparse)


def test_sae_lens_selects_by_norm_as_we_do(tmp_path):
  lens = sae_lens()
  ours = draw(config(TopK(3, by_norm=True)))
  dictionaries.save_as(tmp_path, ours, 'sae_lens')
  theirs = lens.SAE.load_from_disk(tmp_path)(tensor(inputs())).detach().numpy()
  np.testing.assert_allclose(ours(inputs()), theirs, **BOTH)
  np.testing.assert_allclose(dictionaries.load(tmp_path)(inputs()), theirs, **BOTH)


# sparsify


@pytest.mark.parametrize('transcode', [True, False])
@pytest.mark.parametrize('skip', [True, False])
@pytest.mark.parametrize('activation', ['topk', 'groupmax'])
def test_every_kind_of_sparsify(tmp_path, activation, skip, transcode):
  sparsify = pytest.importorskip('sparsify')
  cfg = sparsify.SparseCoderConfig(
    activation=activation,
    num_latents=FEATURES,
    k=4,
    skip_connection=skip,
    transcode=transcode,
  )
  theirs = filled(sparsify.SparseCoder(WIDTH, cfg))
  theirs.save_to_disk(tmp_path / 'run' / 'layers.3.mlp')
  (tmp_path / 'run' / 'config.json').write_text('{"model": "toy", "ctx_len": 64}')
  x = inputs()
  out = theirs(tensor(x))
  codes = torch.zeros(len(x), FEATURES).scatter(1, out.latent_indices, out.latent_acts)
  ours = dictionaries.load(tmp_path / 'run' / 'layers.3.mlp')
  assert_same(ours, codes, out.sae_out, x)
  site = ('ln2.normalized', 'mlp_out') if transcode else ('mlp_out', None)
  assert (ours.config.site, ours.config.out_site) == site
  assert dictionaries.load_metadata(tmp_path / 'run')['model'] == 'toy'


@pytest.mark.parametrize(
  'given',
  [
    config(TopK(4)),
    config(GroupMax(4)),
    config(TopK(4), Transcoder()),
    config(GroupMax(4), Transcoder(use_skip=True)),
  ],
)
def test_sparsify_computes_what_we_wrote(tmp_path, given):
  sparsify = pytest.importorskip('sparsify')
  ours, x = draw(given), inputs()
  dictionaries.save_as(tmp_path, ours, 'sparsify')
  out = sparsify.SparseCoder.load_from_disk(tmp_path)(tensor(x)).sae_out
  np.testing.assert_allclose(ours(x), out.detach().numpy(), **BOTH)


# dictionary_learning


@pytest.fixture(scope='module')
def classes():
  """The library's classes, without the part of it that loads language models."""
  found = importlib.util.find_spec('dictionary_learning')
  if found is None or found.origin is None:
    pytest.skip('dictionary_learning is not installed')
  package = types.ModuleType('dictionary_learning')
  package.__path__ = [str(pathlib.Path(found.origin).parent)]
  sys.modules['dictionary_learning'] = package
  try:
    modules = [
      importlib.import_module(f'dictionary_learning.{name}')
      for name in (
        'dictionary',
        'trainers.top_k',
        'trainers.batch_top_k',
        'trainers.matryoshka_batch_top_k',
      )
    ]
  except ImportError as error:
    pytest.skip(f'dictionary_learning cannot be imported: {error}')
  return {name: cls for module in modules for name, cls in vars(module).items()}


DL = {
  'AutoEncoder': {},
  'AutoEncoderNew': {},
  'GatedAutoEncoder': {},
  'JumpReluAutoEncoder': {},
  'AutoEncoderTopK': {'k': 3},
  'BatchTopKSAE': {'k': 3},
  'MatryoshkaBatchTopKSAE': {'k': 3, 'group_sizes': [8, 16]},
}


def load_theirs(classes, folder):
  trainer = json.loads((folder / 'config.json').read_text())['trainer']
  return classes[trainer['dict_class']].from_pretrained(folder / 'ae.pt')


# Those with a k may have a threshold in its place; -1 is none.
THRESHOLDS = [
  (name, at) for name in DL for at in ((-1.0, 0.6) if DL[name] else (None,))
]


@pytest.mark.parametrize(('name', 'threshold'), THRESHOLDS)
def test_every_class_of_dictionary_learning(tmp_path, classes, name, threshold):
  theirs = filled(classes[name](WIDTH, FEATURES, **DL[name]))
  if threshold is not None:
    theirs.threshold = torch.tensor(threshold)
  trainer = {'dict_class': name, 'activation_dim': WIDTH, 'dict_size': FEATURES}
  trainer |= {'layer': 3, 'lm_name': 'toy', 'submodule_name': 'resid_post_layer_3'}
  trainer |= {'k': 3} if 'k' in DL[name] else {}
  content = {'trainer': trainer, 'buffer': {'ctx_len': 64}}
  (tmp_path / 'config.json').write_text(json.dumps(content))
  torch.save(theirs.state_dict(), tmp_path / 'ae.pt')
  theirs = load_theirs(classes, tmp_path)
  x = inputs()
  ours = dictionaries.load(tmp_path)
  assert_same(ours, theirs.encode(tensor(x)), theirs(tensor(x)), x)
  assert (ours.config.site, ours.config.layer) == ('resid_post', 3)


@pytest.mark.parametrize(
  'given',
  [
    config(ReLU()),
    config(ReLU(), RAW),
    config(Gated()),
    config(TopK(3)),
    config(JumpReLU(), RAW),
    config(JumpReLU()),
  ],
)
def test_dictionary_learning_computes_what_we_wrote(tmp_path, classes, given):
  ours, x = draw(given), inputs()
  if given == config(JumpReLU()):  # Its class has one threshold for all features.
    same = {'threshold': jnp.full_like(ours.params['threshold'], 0.5)}
    ours = dataclasses.replace(ours, params=ours.params | same)
  dictionaries.save_as(tmp_path, ours, 'dictionary_learning')
  theirs = load_theirs(classes, tmp_path)
  np.testing.assert_allclose(ours(x), theirs(tensor(x)).detach().numpy(), **BOTH)


# torch's files


def test_torch_reads_the_pickles_that_we_write(tmp_path):
  from interp_jax.dictionaries.formats.pickle_writer import write_pickle

  rng = np.random.default_rng(0)
  state = {
    'matrix': rng.normal(size=(3, 4)).astype(np.float32),
    'scalar': np.asarray(7, np.int64),
    'half': rng.normal(size=5).astype(jnp.bfloat16),
    'empty': np.zeros((0, 3), np.float32),
  }
  words = {'k': 3, 'long': 2**40, 'on': True, 'none': None, 'rate': 0.5, 'text': 'é'}
  write_pickle(tmp_path / 'a.pt', state | {'words': words})
  found = torch.load(tmp_path / 'a.pt', weights_only=True)
  assert found.pop('words') == words
  for name, array in state.items():
    assert found[name].shape == array.shape
    np.testing.assert_array_equal(found[name].float(), array.astype(np.float32))


def test_pickles_of_torch_are_read_as_torch_reads_them(tmp_path):
  from interp_jax.dictionaries.formats.pickles import read_pickle

  base = torch.arange(24.0).reshape(4, 6)
  module = torch.nn.Linear(3, 2)
  state = {
    'view': base.T,
    'part': base[1:3, ::2],
    'parameter': module.weight,
    **{str(d)[6:]: base.to(d) for d in (torch.float64, torch.int32, torch.bool)},
    'bfloat16': base.bfloat16(),
    'scalar': torch.tensor(3),
    'module': module.state_dict(),
  }
  torch.save(state, tmp_path / 'a.pt')
  found = read_pickle(tmp_path / 'a.pt')
  module = found.pop('module')
  state.pop('module')
  assert module.keys() == {'weight', 'bias'}
  for name, value in state.items():
    expected = value.detach().float().numpy()
    np.testing.assert_array_equal(found[name].read().astype(np.float32), expected)
  torch.save(state, tmp_path / 'b.pt', _use_new_zipfile_serialization=False)
  with pytest.raises(ValueError, match=r'torch before 1\.6'):
    read_pickle(tmp_path / 'b.pt')


# circuit-tracer


def circuit_tracer():
  pytest.importorskip('circuit_tracer')
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    single = importlib.import_module(
      'circuit_tracer.transcoder.single_layer_transcoder'
    )
    cross = importlib.import_module('circuit_tracer.transcoder.cross_layer_transcoder')
  return single, cross


@pytest.mark.parametrize('skip', [True, False])
@pytest.mark.parametrize('jumps', [True, False])
def test_transcoders_of_circuit_tracer(tmp_path, jumps, skip):
  single, _ = circuit_tracer()
  act = single.JumpReLU(torch.zeros(FEATURES), 0.1) if jumps else torch.relu
  theirs = filled(
    single.SingleLayerTranscoder(
      WIDTH, FEATURES, act, 3, skip, device='cpu', dtype=torch.float32
    )
  )
  theirs.to_safetensors(tmp_path / 'layer_3.safetensors')
  (tmp_path / 'config.yaml').write_text(
    'model_kind: transcoder_set\nmodel_name: toy\n'
    'feature_input_hook: mlp.hook_in\nfeature_output_hook: hook_mlp_out\n'
  )
  x = inputs()
  ours = dictionaries.load(tmp_path)
  assert_same(ours, theirs.encode(tensor(x)), theirs(tensor(x)), x)
  assert (ours.config.site, ours.config.out_site) == ('ln2.normalized', 'mlp_out')
  dictionaries.save_as(tmp_path / 'written', ours, 'circuit_tracer', {'model': 'toy'})
  path = str(tmp_path / 'written' / 'layer_3.safetensors')
  back = single.load_relu_transcoder(
    path, 3, torch.device('cpu'), lazy_encoder=False, lazy_decoder=False
  )
  assert_same(ours, back.encode(tensor(x)), back(tensor(x)), x)


@pytest.mark.parametrize('jumps', [True, False])
def test_cross_layer_transcoders_of_circuit_tracer(tmp_path, jumps):
  _, cross = circuit_tracer()
  theirs = filled(
    cross.CrossLayerTranscoder(
      3,
      FEATURES,
      WIDTH,
      'jump_relu' if jumps else 'relu',
      lazy_decoder=False,
      device='cpu',
      dtype=torch.float32,
    )
  )
  theirs.to_safetensors(str(tmp_path))
  x = inputs((3, WIDTH))
  by_layer = tensor(x).transpose(0, 1)
  codes = theirs.encode(by_layer).transpose(0, 1)
  out = theirs(by_layer).transpose(0, 1)
  ours = dictionaries.load(tmp_path)
  assert_same(ours, codes, out, x)
  dictionaries.save_as(tmp_path / 'written', ours, 'circuit_tracer')
  back = cross.load_clt(
    str(tmp_path / 'written'),
    device=torch.device('cpu'),
    dtype=torch.float32,
    lazy_decoder=False,
  )
  assert_same(ours, codes, back(by_layer).transpose(0, 1), x)


@pytest.mark.parametrize('affine', [True, False])
def test_gemma_scope_transcoders_as_circuit_tracer_reads_them(tmp_path, affine):
  single, _ = circuit_tracer()
  rng = np.random.default_rng(0)
  one = lambda *shape: (rng.normal(size=shape) * 0.4).astype(np.float32)
  params = {'w_enc': one(WIDTH, FEATURES), 'w_dec': one(FEATURES, WIDTH)}
  params |= {'b_enc': one(FEATURES), 'b_dec': one(WIDTH)}
  params['threshold'] = np.abs(one(FEATURES))
  if affine:
    params['affine_skip_connection'] = one(WIDTH, WIDTH)
  folder = tmp_path / 'transcoder_all' / 'layer_7_width_16k_l0_big'
  folder.mkdir(parents=True)
  save_file(params, folder / 'params.safetensors')
  theirs = single.load_gemma_scope_2_transcoder(
    str(folder / 'params.safetensors'), 7, torch.device('cpu')
  )
  x = inputs()
  ours = dictionaries.load(folder)
  assert_same(ours, theirs.encode(tensor(x)), theirs(tensor(x)), x)
  assert (ours.config.site, ours.config.layer) == ('ln2.normalized', 7)


# Llamascopium


@pytest.mark.parametrize('by_norm', [True, False])
@pytest.mark.parametrize('act_fn', ['relu', 'jumprelu', 'topk'])
@pytest.mark.parametrize('out', ['blocks.2.hook_resid_post', 'blocks.2.hook_mlp_out'])
def test_every_kind_of_llamascopium(tmp_path, act_fn, by_norm, out):
  pytest.importorskip('llamascopium')
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    sae = importlib.import_module('llamascopium.models.sae')
  cfg = sae.SAEConfig(
    hook_point_in='blocks.2.hook_resid_post',
    hook_point_out=out,
    d_model=WIDTH,
    expansion_factor=FEATURES / WIDTH,
    act_fn=act_fn,
    top_k=3,
    sparsity_include_decoder_norm=by_norm,
  )
  theirs = filled(sae.SparseAutoEncoder(cfg))
  norms = {'blocks.2.hook_resid_post': 5.0} | {out: 7.0}
  theirs.set_dataset_average_activation_norm(norms)
  theirs.save_checkpoint(tmp_path / 'sae_weights.safetensors')
  theirs.cfg.save_hyperparameters(tmp_path)
  theirs.standardize_parameters_of_dataset_norm()
  x = inputs()
  ours = dictionaries.load(tmp_path)
  assert_same(ours, theirs.encode(tensor(x)), theirs(tensor(x)), x)


def test_a_file_that_says_less_than_its_library_knows_is_still_one(tmp_path):
  """Names of tensors in our SAELens files are those that SAELens itself writes."""
  sae_lens()
  sae_of('gated').save_model(tmp_path / 'theirs')
  dictionaries.save_as(tmp_path / 'ours', draw(config(Gated())), 'sae_lens')
  shapes = [
    {n: t.shape for n, t in load_file(tmp_path / f / 'sae_weights.safetensors').items()}
    for f in ('ours', 'theirs')
  ]
  assert shapes[0] == shapes[1]


def test_cross_layer_wirings_are_not_written_for_sae_lens(tmp_path):
  given = config(ReLU(), CrossLayerTranscoder(2))
  with pytest.raises(ValueError, match='cross_layer with activation'):
    dictionaries.save_as(tmp_path, draw(given), 'sae_lens')
