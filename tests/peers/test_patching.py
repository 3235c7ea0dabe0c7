"""Every patching getter is TransformerLens's, entry by entry, on the same weights."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip('transformer_lens')
from interp_jax import compat
from interp_jax.compat import patching
from interp_jax.testing import tiny_model
from interp_jax.testing.double import double

pytestmark = [
  pytest.mark.peers,
  pytest.mark.filterwarnings('ignore::DeprecationWarning'),
  pytest.mark.filterwarnings('ignore::FutureWarning'),
  pytest.mark.filterwarnings('ignore::UserWarning'),
]

MODELS = {
  'gpt2': {'act': 'gelu_tanh'},
  'llama': {
    'norm': 'rmsnorm',
    'positions': 'rotary',
    'kv_heads': 2,
    'act': 'silu',
    'gated': True,
    'qkv_bias': False,
    'attn_out_bias': False,
    'mlp_bias': False,
  },
}
MODELS['gemma2'] = MODELS['llama'] | {
  'act': 'gelu_tanh',
  'norm_placement': 'sandwich',
  'windows': (2, None),
  'attn_softcap': 5.0,
  'logit_softcap': 3.0,
  'attn_scale': 0.4,
  'embed_scale': 12**0.5,
  'tied': True,
}
GETTERS = [name for name in dir(patching) if name.startswith('get_act_patch')]
WANTED = [2, 7]
ONCE = ('gemma2', 'float64')
CASES = [  # The one that has most parts runs every time.
  pytest.param(model, dtype, marks=() if (model, dtype) == ONCE else pytest.mark.slow)
  for model, dtype in itertools.product(MODELS, ('float64', 'float32'))
]


def setting(name, dtype):
  """The model and two batches that differ at positions 1 and 3."""
  options = MODELS[name] | {'layers': 2, 'dtype': dtype, 'param_dtype': dtype}
  model, params = tiny_model(**options)
  clean = np.random.default_rng(0).integers(0, 31, (2, 4))
  corrupted = clean.copy()
  corrupted[:, [1, 3]] = (corrupted[:, [1, 3]] + 5) % 31
  return model, params, clean, corrupted


def compare(name, dtype, bound):
  import torch
  from transformer_lens import patching as theirs

  model, params, clean, corrupted = setting(name, dtype)
  peer = compat.hooked_transformer(model, params)
  rows = [torch.tensor(x, dtype=torch.long) for x in (clean, corrupted)]
  _, cache = compat.run_with_cache(model, params, clean)
  with torch.no_grad():
    _, their_cache = peer.run_with_cache(rows[0])
  read = lambda logits: logits[:, -1, WANTED[0]] - logits[:, -1, WANTED[1]]
  own_metric = lambda logits: jnp.sum(read(logits) * jnp.array([1.0, 0.3]))
  weights = torch.tensor([1.0, 0.3], dtype=getattr(torch, dtype))
  their_metric = lambda logits: (read(logits) * weights).sum()
  errors = {}
  for getter in GETTERS:
    own = getattr(patching, getter)(model, params, corrupted, cache, own_metric)
    with torch.no_grad():
      expected = getattr(theirs, getter)(peer, rows[1], their_cache, their_metric)
    assert own.shape == tuple(expected.shape), getter
    errors[getter] = float(np.abs(own - expected.numpy()).max())
    # Patches do something, so that there is something to compare.
    assert float(np.ptp(own)) > 1e-3, getter
  assert {getter: e for getter, e in errors.items() if not e <= bound} == {}


def test_there_are_fifteen_getters_and_three_stacks():
  from transformer_lens import patching as theirs

  assert len(GETTERS) == 18
  assert [name for name in dir(theirs) if name.startswith('get_act_patch')] == GETTERS


@pytest.mark.parametrize(('name', 'dtype'), CASES)
def test_every_getter_is_that_of_transformer_lens(name, dtype, monkeypatch):
  # Its loops show a bar for each getter.
  monkeypatch.setattr('transformer_lens.patching.tqdm', lambda items: items)
  if dtype == 'float32':
    compare(name, dtype, 1e-4)
    return
  with jax.enable_x64(True), double():
    compare(name, dtype, 1e-9)
