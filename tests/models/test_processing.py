"""Processing rewrites weights and keeps what the model computes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.models import processing
from interp_jax.testing import tiny_model

# Not int64, which jax would keep after it was the constant of a program in 64 bits.
TOKENS = np.random.default_rng(0).integers(0, 31, (2, 7), np.int32)

RMS = {'norm': 'rmsnorm', 'positions': 'rotary', 'gated': True, 'act': 'silu'}
BARE = {'qkv_bias': False, 'attn_out_bias': False, 'mlp_bias': False}
MIXTURE = {**RMS, **BARE, 'experts': 5, 'experts_per_token': 2}
BERT = {
  'norm_placement': 'residual',
  'causal': False,
  'embed_norm': True,
  'token_types': 2,
  'head': 'mlm',
  'tied': True,
  'unembed_bias': True,
}
MODELS = {
  'gpt2': {'tied': True, 'act': 'gelu_tanh'},
  'bare layernorm': {**BARE, 'tied': True},
  'gated layernorm': {'gated': True, 'act': 'silu', 'mlp_bias': False},
  'grouped heads': {'kv_heads': 2},
  'neox': {'parallel': True, 'positions': 'rotary', 'rotary_dim': 2},
  'gptj': {'parallel': True, 'shared_norm': True, 'positions': 'rotary'},
  'bloom': {'positions': 'alibi', 'embed_norm': True, 'tied': True},
  'llama': {**RMS, **BARE, 'kv_heads': 2},
  'qwen2': {**RMS, 'attn_out_bias': False, 'mlp_bias': False, 'tied': True},
  'qwen3': {**RMS, **BARE, 'qk_norm': 'head'},
  'gemma2': {
    **RMS,
    **BARE,
    'norm_placement': 'sandwich',
    'tied': True,
    'embed_scale': 3.5,
    'logit_softcap': 5.0,
    'attn_softcap': 4.0,
  },
  'olmo2': {**RMS, **BARE, 'norm_placement': 'post', 'qk_norm': 'width'},
  'sandwich layernorm': {'norm_placement': 'sandwich'},
  'post layernorm': {'norm_placement': 'post'},
  'mixtral': MIXTURE,
  'mixture of layernorm': {**MIXTURE, 'norm': 'layernorm'},
  'shared norm of a mixture': {
    **MIXTURE,
    'norm': 'layernorm',
    'parallel': True,
    'shared_norm': True,
  },
  'bert': BERT,
  'embedding model': {
    **BERT,
    'head': 'none',
    'tied': False,
    'unembed_bias': False,
    'pooler': True,
    'final_norm': False,
  },
  'residual linear': {'norm_placement': 'residual', 'final_norm': False},
  'attn only': {'attn_only': True, 'mlp_width': 0},
  'solu': {'act': 'solu_ln', 'unembed_bias': True},
  'solu without biases': {'act': 'solu_ln', 'mlp_bias': False},
  'solu of rms': {'act': 'solu_ln', 'norm': 'rmsnorm'},
  'solu alone': {'act': 'solu_ln', 'norm': 'none'},
  'no norm': {'norm': 'none'},
  'no final norm': {'final_norm': False},
  'final rms': {'final_rms': True},
  'shortformer': {'positions': 'shortformer'},
  'shortformer of shared norm': {
    'positions': 'shortformer',
    'parallel': True,
    'shared_norm': True,
  },
  'headless': {'head': 'none'},
  'pooled': {'pooler': True},
  'mlm of pre': {'head': 'mlm', 'tied': True},
  'token types': {'token_types': 2},
}
STEPS = {
  'fold_ln': processing.fold_ln,
  'center_writing_weights': processing.center_writing_weights,
  'center_unembed': processing.center_unembed,
  'fold_value_biases': processing.fold_value_biases,
  'process': processing.process,
}


def _run(model, params, **options):
  out, acts = model.apply({'params': params}, TOKENS, **options)
  return np.asarray(out), acts


@functools.partial(jax.jit, static_argnums=0)
def _logits(model, params):
  """Compiled once for all steps that leave the config as it is."""
  return model.apply({'params': params}, TOKENS)[0]


@functools.cache
def _wide_model(name):
  return tiny_model(**MODELS[name], dtype='float64', param_dtype='float64')


def _step(name, model, params):
  try:
    return STEPS[name](model, params)
  except ValueError as error:
    assert 'Leave this step out' in str(error)  # noqa: PT017 (a refusal is an answer)
    return None


FAST = ('gpt2', 'gptj', 'gemma2', 'mixtral', 'bert', 'solu', 'shortformer')


def _cases():
  """Every model under every step; all but a few take minutes of compilation."""
  for name in MODELS:
    for step in STEPS:
      fast = name in FAST if step == 'process' else name == 'gpt2'
      yield pytest.param(name, step, marks=() if fast else pytest.mark.slow)


@pytest.mark.parametrize(('name', 'step'), list(_cases()))
@pytest.mark.usefixtures('float64')
def test_the_function_stays_and_a_second_time_changes_nothing(name, step):
  model, params = _wide_model(name)
  processed = _step(step, model, params)
  if processed is None:
    return
  before, after = _logits(model, params), _logits(*processed)
  if step in ('center_unembed', 'process') and model.cfg.head != 'none':
    before, after = (jax.nn.log_softmax(x) for x in (before, after))
  np.testing.assert_allclose(after, before, rtol=1e-10, atol=1e-10)
  again = STEPS[step](*processed)
  assert again[0] == processed[0]
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-12),
    processed[1],
    again[1],
  )


@pytest.mark.parametrize('name', FAST)
def test_the_config_describes_the_processed_parameters(name):
  model, params = tiny_model(**MODELS[name])
  made, new = processing.process(model, params)
  wanted = jax.eval_shape(
    lambda: made.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
  )
  shapes = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
  assert shapes(new) == shapes(wanted['params'])


FOLDS = {
  'gpt2': ['ln1', 'ln2', 'ln_final'],
  'gptj': ['ln1', 'ln_final'],
  'llama': ['ln1', 'ln2', 'ln_final'],
  'gemma2': ['ln1', 'ln2', 'ln_final'],
  'olmo2': ['ln_final'],
  'bert': ['ln_final'],
  'mixtral': ['ln1', 'ln2', 'ln_final'],
  'mixture of layernorm': ['ln1', 'ln_final'],
  'shared norm of a mixture': ['ln_final'],
  'shortformer': ['ln2', 'ln_final'],
  'shortformer of shared norm': ['ln_final'],
  'headless': ['ln1', 'ln2'],
  'pooled': ['ln1', 'ln2'],
}


@pytest.mark.parametrize('name', FOLDS)
def test_gains_of_folded_norms_are_one_and_biases_zero(name):
  model, params = tiny_model(**MODELS[name])
  _, folded = processing.fold_ln(model, params)
  before = {**params, **params['blocks']}
  after = {**folded, **folded['blocks']}
  for norm in [key for key in after if key.startswith('ln')]:
    if norm in FOLDS[name]:
      np.testing.assert_array_equal(after[norm]['w'], 1)
      np.testing.assert_array_equal(after[norm].get('b', 0), 0)
    else:
      jax.tree.map(np.testing.assert_array_equal, after[norm], before[norm])


def test_solus_norm_is_folded():
  _, folded = processing.fold_ln(*tiny_model(act='solu_ln'))
  np.testing.assert_array_equal(folded['blocks']['mlp']['ln']['w'], 1)
  np.testing.assert_array_equal(folded['blocks']['mlp']['ln']['b'], 0)


def test_nothing_with_a_mean_is_written():
  model, params = processing.process(*tiny_model(token_types=2, tied=True))
  acts = _run(model, params)[1]
  for site in ('resid_pre', 'attn_out', 'resid_mid', 'mlp_out', 'resid_post'):
    np.testing.assert_allclose(acts[site].mean(-1), 0, atol=1e-5)


def test_centered_logits_have_no_mean():
  model, params = processing.center_unembed(*tiny_model(unembed_bias=True))
  np.testing.assert_allclose(_run(model, params)[0].mean(-1), 0, atol=1e-5)


def test_values_have_no_biases_left():
  _, params = processing.fold_value_biases(*tiny_model(kv_heads=2))
  np.testing.assert_array_equal(params['blocks']['attn']['b_V'], 0)


def test_steps_say_why_they_refuse():
  rms, capped = tiny_model(**MODELS['llama']), tiny_model(logit_softcap=3.0)
  with pytest.raises(ValueError, match="norm is 'rmsnorm'"):
    processing.center_writing_weights(*rms)
  with pytest.raises(ValueError, match='norm_placement'):
    processing.center_writing_weights(*tiny_model(**MODELS['bert']))
  with pytest.raises(ValueError, match='soft-capped'):
    processing.center_unembed(*capped)
  with pytest.raises(ValueError, match='no unembedding'):
    processing.center_unembed(*tiny_model(head='none'))


def test_process_takes_each_step_by_its_name():
  model, params = tiny_model()
  off = dict.fromkeys(list(STEPS)[:-1], False)
  assert processing.process(model, params, **off) == (model, params)
  for name in off:
    ours = processing.process(model, params, **{**off, name: True})
    alone = STEPS[name](model, params)
    assert ours[0] == alone[0]
    jax.tree.map(np.testing.assert_array_equal, ours[1], alone[1])


def test_padding_reads_the_same_after_values_are_folded():
  model, params = tiny_model()
  mask = np.arange(7) >= np.array([[3], [0]])
  before = _run(model, params, mask=mask)[0]
  after = _run(*processing.fold_value_biases(model, params), mask=mask)[0]
  np.testing.assert_allclose(after[mask], before[mask], rtol=1e-4, atol=1e-4)


def test_parameters_are_not_changed_in_place():
  model, params = tiny_model()
  copies = jax.tree.map(np.array, params)
  processing.process(model, params)
  jax.tree.map(np.testing.assert_array_equal, params, copies)


def test_processing_can_be_compiled():
  model, params = tiny_model()
  compiled = jax.jit(lambda params: processing.process(model, params)[1])(params)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
    compiled,
    processing.process(model, params)[1],
  )


def test_parameters_of_few_bits_keep_their_dtype():
  model, params = tiny_model(param_dtype='bfloat16', dtype='bfloat16')
  _, made = processing.process(model, params)
  assert made['unembed']['W_U'].dtype == jnp.bfloat16
  assert made['blocks']['attn']['b_O'].dtype == jnp.bfloat16
