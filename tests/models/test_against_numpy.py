"""In float64 the model agrees with an independent numpy forward pass, at every site."""

import jax
import numpy as np
import pytest

from interp_jax.core import SITES, site_names
from interp_jax.models import Transformer, TransformerConfig
from interp_jax.testing import random_params
from tests.models import numpy_reference

pytestmark = pytest.mark.usefixtures('float64')

BASE = {
  'vocab_size': 11,
  'width': 10,  # Not heads * head_dim.
  'layers': 2,
  'heads': 4,
  'head_dim': 4,
  'mlp_width': 14,
  'context': 9,
  'dtype': 'float64',
  'param_dtype': 'float64',
}
# Three sequences: whole, padded on the left, padded on the right.
TOKENS = np.random.default_rng(0).integers(0, 11, (3, 7))
TYPES = np.random.default_rng(1).integers(0, 6, (3, 7))
MASK = np.array([[1] * 7, [0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0]], bool)

EXPERTS = {
  'experts': 4,
  'experts_per_token': 2,
  'gated': True,
  'mlp_bias': False,
  'act': 'silu',
}

OPTIONS = {
  'layernorm': {},
  'rmsnorm': {'norm': 'rmsnorm'},
  'no norm': {'norm': 'none'},
  'large eps': {'norm_eps': 0.3},
  'sandwich layernorm': {'norm_placement': 'sandwich'},
  'sandwich rmsnorm': {'norm_placement': 'sandwich', 'norm': 'rmsnorm'},
  'sandwich without norm': {'norm_placement': 'sandwich', 'norm': 'none'},
  'no final norm': {'final_norm': False},
  'shortformer': {'positions': 'shortformer'},
  'rotary': {'positions': 'rotary'},
  'rotary interleaved': {'positions': 'rotary', 'rotary_interleaved': True},
  'rotary partial': {'positions': 'rotary', 'rotary_dim': 2},
  'rotary partial interleaved': {
    'positions': 'rotary',
    'head_dim': 6,
    'rotary_dim': 4,
    'rotary_interleaved': True,
  },
  'rotary base per layer': {'positions': 'rotary', 'rotary_base': (100.0, 7.0)},
  'alibi': {'positions': 'alibi'},
  'alibi of six heads': {'positions': 'alibi', 'heads': 6},
  'alibi bidirectional': {'positions': 'alibi', 'causal': False},
  'no positions': {'positions': 'none'},
  'grouped queries': {'kv_heads': 2},
  'grouped rotary': {'kv_heads': 2, 'positions': 'rotary', 'qk_norm': 'head'},
  'one key head': {'kv_heads': 1},
  'bidirectional': {'causal': False},
  'attention only': {'attn_only': True, 'mlp_width': 0},
  'attention only sandwich': {'attn_only': True, 'norm_placement': 'sandwich'},
  'parallel': {'parallel': True},
  'parallel sandwich': {'parallel': True, 'norm_placement': 'sandwich'},
  'gated': {'gated': True, 'act': 'silu'},
  'gated solu_ln': {'gated': True, 'act': 'solu_ln'},
  'relu': {'act': 'relu'},
  'relu2': {'act': 'relu2'},
  'gelu_tanh': {'act': 'gelu_tanh'},
  'gelu_quick': {'act': 'gelu_quick'},
  'solu': {'act': 'solu'},
  'solu_ln': {'act': 'solu_ln'},
  'solu_ln with rmsnorm': {'act': 'solu_ln', 'norm': 'rmsnorm'},
  'no biases': {'qkv_bias': False, 'attn_out_bias': False, 'mlp_bias': False},
  'unembedding bias': {'unembed_bias': True},
  'soft caps': {'attn_softcap': 0.7, 'logit_softcap': 1.3},
  'capped alibi': {'attn_softcap': 0.7, 'positions': 'alibi'},
  'window': {'windows': 3},
  'windows per layer': {'windows': (2, None)},
  'bidirectional window': {'windows': (2, 3), 'causal': False},
  'qk norm': {'qk_norm': 'head'},
  'tied': {'tied': True, 'embed_scale': 3.0},
  'tied with a bias': {'tied': True, 'unembed_bias': True},
  'attention scale': {'attn_scale': 0.9},
  'attention scale per layer': {'attn_scale': (0.9, 0.3)},
  'norms after': {'norm_placement': 'post', 'norm': 'rmsnorm'},
  'norms between': {'norm_placement': 'residual', 'final_norm': False},
  'norms between, attention only': {
    'norm_placement': 'residual',
    'attn_only': True,
    'mlp_width': 0,
  },
  'shared norm': {'parallel': True, 'shared_norm': True},
  'norm of all queries': {'qk_norm': 'width', 'positions': 'rotary', 'kv_heads': 2},
  'norm of the embedding': {'embed_norm': True, 'positions': 'alibi'},
  'final rms': {'final_rms': True},
  'token types': {'token_types': 2},
  'masked language model': {
    'causal': False,
    'norm_placement': 'residual',
    'embed_norm': True,
    'token_types': 3,
    'head': 'mlm',
    'tied': True,
    'unembed_bias': True,
  },
  'no head': {'head': 'none', 'pooler': True, 'final_norm': False},
  'experts': EXPERTS,
  'experts as they are': EXPERTS | {'renormalize_experts': False, 'act': 'gelu'},
  'every expert': EXPERTS | {'experts_per_token': 4},
}

CHOICES = {
  'norm': ['layernorm', 'rmsnorm'],
  'norm_placement': ['pre', 'sandwich'],
  'final_norm': [True, False],
  'positions': ['learned', 'shortformer', 'rotary', 'alibi', 'none'],
  'rotary_dim': [0, 2],
  'rotary_base': [50.0, (50.0, 9.0)],
  'rotary_interleaved': [False, True],
  'heads': [4, 6],
  'kv_heads': [0, 1, 2],
  'causal': [True, True, False],
  'attn_only': [False, False, True],
  'parallel': [False, True],
  'gated': [False, True],
  'act': ['relu', 'gelu', 'gelu_tanh', 'silu', 'solu_ln'],
  'qkv_bias': [False, True],
  'attn_out_bias': [False, True],
  'mlp_bias': [False, True],
  'unembed_bias': [False, True],
  'attn_softcap': [None, 0.8],
  'logit_softcap': [None, 1.5],
  'windows': [None, 3, (None, 2)],
  'qk_norm': ['none', 'head', 'width'],
  'embed_norm': [False, True],
  'token_types': [0, 2],
  'final_rms': [False, True],
  'tied': [False, True],
  'embed_scale': [1.0, 2.0],
}


def check(options, seed=0):
  """The model's logits and acts are those of numpy, wherever there is no padding."""
  model = Transformer(TransformerConfig(**(BASE | options)))
  params = random_params(model, seed, std=0.4)
  types = TYPES % model.cfg.token_types if model.cfg.token_types else None
  run = jax.jit(
    lambda p: model.apply({'params': p}, TOKENS, mask=MASK, token_types=types)
  )
  logits, acts = jax.tree.map(np.asarray, run(params))
  assert set(acts) == set(site_names(model.cfg))
  params = jax.tree.map(np.asarray, params)
  for row, mask in enumerate(MASK):
    at = np.flatnonzero(mask)
    own = None if types is None else types[row, at]
    want_logits, want = numpy_reference.forward(model.cfg, params, TOKENS[row, at], own)
    close(logits[row, at], want_logits, 'logits')
    assert set(want) == set(acts)
    for site in acts:
      close(unpadded(site, acts[site], row, at), want[site], site)


def unpadded(site, act, row, at):
  """The act of one row at the positions (and keys) that are not padding."""
  axes = SITES[site].full_axes
  act = np.take(act, row, axes.index('B'))
  axes = [axis for axis in axes if axis != 'B']
  for axis in set(axes) & {'T', 'S'}:
    act = np.take(act, at, axes.index(axis))
  return act


def close(got, want, what):
  assert got.dtype == (np.int32 if what == 'expert_choices' else np.float64), what
  np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11, err_msg=what)


@pytest.mark.parametrize('option', OPTIONS)
def test_every_option_agrees_with_numpy_at_every_site(option):
  check(OPTIONS[option])


@pytest.mark.parametrize('seed', range(8))
def test_random_combinations_of_options_agree_with_numpy(seed):
  rng = np.random.default_rng(seed)
  check({name: values[rng.integers(len(values))] for name, values in CHOICES.items()})
