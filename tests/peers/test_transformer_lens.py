"""Every activation against TransformerLens, raw and processed, on tiny random models.

Two roads lead to the peer: TransformerLens's own reading of a model of transformers,
and the export of ours. Their weights are equal, so that what is compared with the
second is compared with the first.
"""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

pytest.importorskip('transformer_lens')
from interp_jax import compat, models
from interp_jax.compat import export
from interp_jax.models.primitives import alibi_slopes
from interp_jax.models.processing import process
from interp_jax.testing import tiny_model
from interp_jax.testing.double import double
from interp_jax.testing.peer import Peer
from tests.models import make_golden, published

pytestmark = [
  pytest.mark.peers,
  # Of torch, transformers and TransformerLens, whose classes are all deprecated.
  pytest.mark.filterwarnings('ignore::DeprecationWarning'),
  pytest.mark.filterwarnings('ignore::FutureWarning'),
  pytest.mark.filterwarnings('ignore::UserWarning'),
]

EXACT, ROUNDED = 1e-10, 5e-5
FIRST = [cases[0].name for cases in published.FAMILIES.values()]


def some(names, *fast):
  """All names, those that are not to run every time marked as slow."""
  slow = pytest.mark.slow
  return [n if n in fast else pytest.param(n, marks=slow) for n in names]


# TransformerLens's name of the class whose weights it reads.
READ_THERE = {
  'gpt2': 'GPT2LMHeadModel',
  'gpt_neo': 'GPTNeoForCausalLM',
  'gpt_neox': 'GPTNeoXForCausalLM',
  'opt': 'OPTForCausalLM',
  'llama': 'LlamaForCausalLM',
  'mistral': 'MistralForCausalLM',
  'mixtral': 'MixtralForCausalLM',
  'qwen2': 'Qwen2ForCausalLM',
  'qwen3': 'Qwen3ForCausalLM',
  'gemma': 'GemmaForCausalLM',
  'gemma2': 'Gemma2ForCausalLM',
  'gemma3_text': 'Gemma3ForCausalLM',
  'phi3': 'Phi3ForCausalLM',
  # TransformerLens reads no grouped heads in OLMo 2.
  'olmo2': 'Olmo2ForCausalLM',
  'bloom': 'BloomForCausalLM',
}
TOY = {
  'attn only': {'attn_only': True, 'mlp_width': 0, 'positions': 'shortformer'},
  'gelu': {},
  'solu': {'act': 'solu_ln', 'unembed_bias': True},
  'parallel': {'parallel': True, 'positions': 'rotary', 'rotary_interleaved': True},
  'no norm': {'norm': 'none'},
}


class Pair(NamedTuple):
  """A model in float64, and what to run it on."""

  model: models.Transformer
  params: dict[str, Any]
  tokens: np.ndarray
  folder: Any = None


@pytest.fixture(scope='module')
def read(tmp_path_factory):
  @functools.lru_cache(2)
  def make(name: str, dtype: str = 'float64') -> Pair:
    folder = tmp_path_factory.mktemp(name)
    make_golden.make_checkpoint(published.CASES[name], folder)
    model, params, _ = models.load(folder, dtype=dtype)
    return Pair(model, params, published.tokens_of(name), folder)

  return make


def toy(name: str) -> Pair:
  wide = {'dtype': 'float64', 'param_dtype': 'float64'}
  tokens = np.random.default_rng(0).integers(0, 31, (2, 9))
  return Pair(*tiny_model(**TOY[name], **wide), tokens)


def peer_of(pair: Pair, processed: bool = False) -> Any:
  try:
    return compat.hooked_transformer(pair.model, pair.params, processed)
  except ValueError as error:
    pytest.skip(str(error))


def processed_as_there(pair: Pair) -> tuple[models.Transformer, dict[str, Any]]:
  steps = export.processing_steps(pair.model.cfg)
  return process(pair.model, pair.params, **steps)


def assert_all_within(bound: float, errors: dict[str, float]) -> None:
  assert len(errors) > 30
  assert {name: error for name, error in errors.items() if not error <= bound} == {}


def assert_hooks_agree(pair: Pair) -> None:
  """Raw and processed; and the processed weights too."""
  with double():
    errors = compat.compare_hooks(pair.model, pair.params, peer_of(pair), pair.tokens)
    assert_all_within(EXACT, errors)
    peer = peer_of(pair, processed=True)
    model, params = processed_as_there(pair)
    assert_weights_are_those_of(peer, model.cfg, params)
    assert_all_within(EXACT, compat.compare_hooks(model, params, peer, pair.tokens))


@pytest.mark.usefixtures('float64')
@pytest.mark.parametrize('name', some(published.CASES, *FIRST))
def test_every_hook_is_that_of_transformer_lens(name, read):
  assert_hooks_agree(read(name))


@pytest.mark.parametrize('name', some(FIRST, 'gpt2-plain', 'gemma2-plain'))
def test_every_hook_is_within_rounding_in_float32(name, read):
  pair = read(name, 'float32')
  errors = compat.compare_hooks(pair.model, pair.params, peer_of(pair), pair.tokens)
  assert_all_within(ROUNDED, errors)


@pytest.mark.usefixtures('float64')
@pytest.mark.parametrize('name', TOY)
def test_toy_models_are_those_of_transformer_lens(name):
  assert_hooks_agree(toy(name))


def assert_weights_are_those_of(peer: Any, cfg: Any, params: Any) -> None:
  theirs = peer.state_dict()
  ours = export.state_dict(cfg, params)
  # Folded norms have no weights there.
  assert [key for key in ours if key not in theirs and 'ln' not in key] == []
  for key in ours.keys() & theirs.keys():
    np.testing.assert_allclose(ours[key], theirs[key], atol=EXACT, err_msg=key)


@pytest.mark.parametrize('family', READ_THERE)
def test_exported_weights_are_those_that_transformer_lens_reads(family, read):
  import torch
  from transformer_lens import HookedTransformerConfig, loading_from_pretrained

  name = 'olmo2-no-groups' if family == 'olmo2' else published.FAMILIES[family][0].name
  pair = read(name, 'float32')
  fields = export.config_fields(pair.model.cfg)
  fields |= {'original_architecture': READ_THERE[family], 'device': 'cpu'}
  config = HookedTransformerConfig(**fields, dtype=torch.float32)
  source = Peer(pair.folder)._model
  state = loading_from_pretrained.get_pretrained_state_dict(
    str(pair.folder), config, source
  )
  for key, value in export.state_dict(pair.model.cfg, pair.params).items():
    # Biases that a model has not are left out there and zeros here.
    is_bias = key.split('.')[-1].strip('_')[:2] == 'b_'
    there = state.get(key, torch.zeros(value.shape) if is_bias else None)
    assert there is not None, key
    np.testing.assert_allclose(value, there.detach(), atol=1e-6, err_msg=key)


@pytest.mark.parametrize('name', ['gpt2', 'llama', 'mixtral'])
def test_steps_one_by_one_are_those_of_its_loading_at_once(name, read):
  import torch

  pair = read(published.FAMILIES[name][0].name, 'float32')
  peer = peer_of(pair)
  state = {
    key: torch.tensor(value)
    for key, value in export.state_dict(pair.model.cfg, pair.params).items()
  }
  peer.load_and_process_state_dict(state)
  expected = peer.state_dict()
  own = peer_of(pair, processed=True).state_dict()
  assert expected.keys() == own.keys()
  for key in expected:
    if not key.endswith(('mask', 'IGNORE')):
      np.testing.assert_allclose(own[key], expected[key], atol=1e-5, err_msg=key)


METHODS = {
  'accumulated': ('accumulated_resid', {'incl_mid': True}),
  'lens': ('accumulated_resid', {'apply_ln': True}),
  'accumulated early': ('accumulated_resid', {'layer': 1, 'apply_ln': True}),
  'accumulated middle': (
    'accumulated_resid',
    {'layer': 1, 'mlp_input': True, 'apply_ln': True},
  ),
  'parts': ('decompose_resid', {}),
  'parts of attention': ('decompose_resid', {'mode': 'attn', 'incl_embeds': False}),
  'parts of MLPs, read': (
    'decompose_resid',
    {'mode': 'mlp', 'apply_ln': True, 'pos_slice': (2, 5)},
  ),
  'parts to the middle': (
    'decompose_resid',
    {'layer': 1, 'mlp_input': True, 'apply_ln': True},
  ),
  'heads': ('stack_head_results', {'incl_remainder': True, 'pos_slice': -1}),
  'heads, read': ('stack_head_results', {'layer': 2, 'apply_ln': True}),
  'neurons': (
    'stack_neuron_results',
    {'layer': -1, 'incl_remainder': True, 'neuron_slice': (2, 9, 3)},
  ),
  'neurons, read': ('stack_neuron_results', {'layer': 2, 'apply_ln': True}),
  'all': ('get_full_resid_decomposition', {}),
  'all, read': (
    'get_full_resid_decomposition',
    {'apply_ln': True, 'pos_slice': [1, 3], 'expand_neurons': False},
  ),
  'all to the middle': (
    'get_full_resid_decomposition',
    {'layer': 1, 'mlp_input': True, 'apply_ln': True},
  ),
}


@pytest.fixture(scope='module')
def caches(read):
  """A function from a name to our cache and TransformerLens's, processed."""

  @functools.cache
  def make(name: str) -> tuple[Any, Any]:
    import torch

    pair = toy(name) if name in TOY else read(published.FAMILIES[name][0].name)
    with double():
      peer = peer_of(pair, processed=True)
      rows = torch.tensor(pair.tokens.astype(np.int64))
      theirs = peer.run_with_cache(rows)[1]
    ours = compat.run_with_cache(*processed_as_there(pair), pair.tokens)[1]
    return ours, theirs

  return make


@pytest.mark.usefixtures('float64')
@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('name', ['gpt2', 'llama', 'solu', 'no norm'])
def test_methods_of_the_cache_are_those_of_transformer_lens(name, method, caches):
  ours, theirs = caches(name)
  call, options = METHODS[method]
  options = {**options, 'return_labels': True}
  with double():
    expected, expected_labels = getattr(theirs, call)(**options)
  stack, labels = getattr(ours, call)(**options)
  assert labels == expected_labels
  np.testing.assert_allclose(stack, expected.detach(), atol=EXACT)


@pytest.mark.usefixtures('float64')
@pytest.mark.parametrize('name', ['gpt2', 'llama', 'gpt_neo'])
def test_attributions_are_those_of_transformer_lens(name, caches):
  import torch

  ours, theirs = caches(name)
  last, wrong = np.array([3, 4]), np.array([6, 5])
  stack = ours.decompose_resid(pos_slice=-1)
  with double():
    expected = theirs.logit_attrs(
      theirs.decompose_resid(pos_slice=-1),
      torch.tensor(last),
      torch.tensor(wrong),
      pos_slice=-1,
    )
    alone = theirs.logit_attrs(theirs.decompose_resid(), 7)
  own = ours.logit_attrs(stack, last, wrong, pos_slice=-1)
  np.testing.assert_allclose(own, expected.detach(), atol=EXACT)
  own = ours.logit_attrs(ours.decompose_resid(), 7)
  np.testing.assert_allclose(own, alone.detach(), atol=EXACT)


@pytest.mark.usefixtures('float64')
def test_a_slice_of_the_batch_is_that_of_transformer_lens(caches):
  ours, theirs = caches('gpt2')
  with double():
    theirs = theirs.apply_slice_to_batch_dim(1)
    expected = theirs.get_full_resid_decomposition(apply_ln=True, expand_neurons=False)
  own = ours.apply_slice_to_batch_dim(1)
  stack = own.get_full_resid_decomposition(apply_ln=True, expand_neurons=False)
  np.testing.assert_allclose(own['z', 1], theirs['z', 1], atol=EXACT)
  np.testing.assert_allclose(stack, expected.detach(), atol=EXACT)


@pytest.mark.usefixtures('float64')
@pytest.mark.parametrize('name', ['gpt2', 'llama'])
def test_inputs_of_heads_are_those_of_transformer_lens(name, read):
  import torch

  pair = read(published.FAMILIES[name][0].name)
  ours = compat.run_with_cache(pair.model, pair.params, pair.tokens)[1]
  names = ('hook_q_input', 'hook_k_input', 'hook_v_input')
  with double():
    peer = peer_of(pair)
    peer.set_use_split_qkv_input(True)
    wanted = lambda hook: hook.endswith(names)
    theirs = peer.run_with_cache(torch.tensor(pair.tokens), names_filter=wanted)[1]
  assert len(theirs) == 3 * pair.model.cfg.layers
  for hook, value in theirs.items():
    np.testing.assert_allclose(ours[hook], value, atol=EXACT, err_msg=hook)


PADDED = ['gpt2', 'gpt_neo', 'gpt_neox', 'llama', 'mistral', 'gemma2', 'bloom', 'opt']


@pytest.mark.usefixtures('float64')
@pytest.mark.parametrize('side', ['left', 'right'])
@pytest.mark.parametrize('name', some(PADDED, 'gpt2', 'bloom'))
def test_padded_hooks_are_those_of_transformer_lens_with_a_mask(name, side, read):
  pair = read(published.FAMILIES[name][0].name)
  mask = padding(pair.tokens, side)
  with double():
    peer = peer_of(pair)
    errors = compat.compare_hooks(pair.model, pair.params, peer, pair.tokens, mask)
  assert_all_within(EXACT, errors)


def padding(tokens: np.ndarray, side: str) -> np.ndarray:
  """A mask that leaves two tokens of the first row out."""
  mask = np.ones(tokens.shape, bool)
  mask[0, :2] = mask[0, -2:] = True
  mask[0, slice(0, 2) if side == 'left' else slice(-2, None)] = False
  return mask


# Where TransformerLens is not right, what it does and what is done here.


@pytest.mark.usefixtures('float64')
def test_a_left_padded_row_is_itself_here_and_not_there(read):
  """TransformerLens takes padding for text unless it is given a mask."""
  import torch

  pair = read(published.FAMILIES['gpt2'][0].name)
  mask = padding(pair.tokens, 'left')
  run = jax.jit(pair.model.apply)
  alone = run({'params': pair.params}, pair.tokens[:1, 2:])[0][0]
  ours = run({'params': pair.params}, pair.tokens, mask=mask)[0][0, 2:]
  with double(), torch.no_grad():
    theirs = peer_of(pair)(torch.tensor(pair.tokens))[0, 2:].numpy()
  np.testing.assert_allclose(ours, alone, atol=EXACT)
  assert np.abs(theirs - alone).max() > 0.01


@pytest.mark.usefixtures('float64')
def test_a_left_padded_row_of_bert_is_itself_here_and_not_there(read):
  """HookedEncoder counts positions from the padding, even with a mask."""
  pair = read(published.FAMILIES['bert'][0].name)
  mask = padding(pair.tokens, 'left')
  run = jax.jit(pair.model.apply)
  alone = run({'params': pair.params}, pair.tokens[:1, 2:])[0][0]
  ours = run({'params': pair.params}, pair.tokens, mask=mask)[0][0, 2:]
  np.testing.assert_allclose(ours, alone, atol=EXACT)
  with double():
    peer = peer_of(pair)
    errors = compat.compare_hooks(pair.model, pair.params, peer, pair.tokens, mask)
  assert errors['logits'] > 0.01


def test_slopes_of_six_heads_are_not_those_of_transformer_lens():
  from transformer_lens.components.abstract_attention import AbstractAttention

  right = AbstractAttention.create_alibi_multipliers(8)
  np.testing.assert_allclose(alibi_slopes(8), right, rtol=1e-6)
  wrong = AbstractAttention.create_alibi_multipliers(6)
  assert np.abs(alibi_slopes(6) - wrong.numpy()).max() > 0.01


@pytest.mark.usefixtures('float64')
def test_rows_of_a_shortformer_sum_to_the_stream_here_and_not_there(caches):
  ours, theirs = caches('attn only')
  stream = ours['resid_post', -1]
  np.testing.assert_allclose(ours.decompose_resid().sum(0), stream, atol=EXACT)
  with double():
    wrong = theirs.decompose_resid().sum(0).detach().numpy()
  assert np.abs(wrong - stream).max() > 0.01


@pytest.mark.usefixtures('float64')
def test_heads_of_gemma_2_sum_to_the_stream_here_and_not_there(caches):
  """TransformerLens takes heads before the norm that follows attention."""
  ours, theirs = caches('gemma2')
  attn_out = ours['attn_out', 0]
  heads = ours.stack_head_results(1)
  np.testing.assert_allclose(heads.sum(0), attn_out, atol=EXACT)
  with double():
    wrong = theirs.stack_head_results(1).sum(0).detach().numpy()
  assert np.abs(wrong - attn_out).max() > 0.01


def test_processing_there_is_refused_where_it_changes_the_function():
  """TransformerLens centres the unembedding too, whose norm reads the mean."""
  model, params = tiny_model(final_rms=True)
  tokens = np.random.default_rng(0).integers(0, 31, (2, 9))
  peer = compat.hooked_transformer(model, params)
  errors = compat.compare_hooks(model, params, peer, tokens)
  assert_all_within(ROUNDED, errors)
  with pytest.raises(ValueError, match='final_rms'):
    compat.hooked_transformer(model, params, processed=True)
