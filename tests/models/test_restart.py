"""A run from a position on, against another run's keys and values, is the whole run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import edits
from interp_jax.core import SITES
from interp_jax.models import Transformer
from interp_jax.testing import assert_acts_close, tiny_model

B, T, FIRST = 3, 7, 4
TOKENS = np.random.default_rng(0).integers(0, 31, (B, T))
PADDED = np.ones((B, T), bool)
PADDED[0, :2] = PADDED[1, 5:] = False
MODELS = {
  'learned': {},
  'shortformer': {'positions': 'shortformer', 'attn_only': True},
  'rotary, grouped, normed': {'positions': 'rotary', 'kv_heads': 2, 'qk_norm': 'head'},
  'alibi, parallel': {'positions': 'alibi', 'parallel': True},
  'windows, capped, sandwich': {
    'positions': 'rotary',
    'windows': (2, None, 3),
    'attn_softcap': 2.0,
    'norm_placement': 'sandwich',
    'rotary_base': (10.0, 1e4, 100.0),
  },
  'experts': {
    'gated': True,
    'mlp_bias': False,
    'experts': 3,
    'experts_per_token': 2,
    'positions': 'none',
  },
}


def cut(acts, first=FIRST):
  """The activations of the later positions."""
  out = {}
  for site, act in acts.items():
    axis = SITES[site].full_axes.index('T')
    out[site] = jax.lax.slice_in_dim(act, first, act.shape[axis], axis=axis)
  return out


def runs(name, mask=None, start=1):
  """An edited run from the tokens, and the same from a layer and a position on."""
  model, params = tiny_model(**MODELS[name])
  late = np.arange(T)[:, None] >= FIRST
  layers = (np.arange(3) >= start)[:, None, None, None]
  todo = {
    'attn_out': edits.Add(jnp.linspace(-1, 1, 12), layers & late),
    'pattern': edits.Scale(0.5, layers[..., None] & late),
  }

  @jax.jit
  def both(params, start):
    run = lambda *given, **kw: model.apply({'params': params}, *given, mask=mask, **kw)
    whole = run(TOKENS, todo)
    _, base = run(TOKENS)
    before = {site: base[site][:, :, :FIRST] for site in model.restart_sites}
    here = edits.at_positions(todo, FIRST, T - FIRST, T)
    resid = base['resid_pre'][start][:, FIRST:]
    late = run(None, here, resid=resid, start=start, before=before)
    from_tokens = run(TOKENS[:, FIRST:], here, before=before)
    return whole, late, from_tokens

  return both(params, jnp.int32(start))


@pytest.mark.parametrize('mask', [None, PADDED], ids=['whole', 'padded'])
@pytest.mark.parametrize(
  'name',
  [
    name if name.startswith('windows') else pytest.param(name, marks=pytest.mark.slow)
    for name in MODELS
  ],
)
def test_a_run_from_a_position_on_is_the_whole_run_there(name, mask):
  with jax.enable_x64(True):
    MODELS[name] |= {'dtype': 'float64', 'param_dtype': 'float64'}
    (logits, acts), late, from_tokens = runs(name, mask)
  np.testing.assert_allclose(late[0], logits[:, FIRST:], atol=1e-10)
  np.testing.assert_allclose(from_tokens[0], logits[:, FIRST:], atol=1e-10)
  assert_acts_close(from_tokens[1], cut(acts), atol=1e-10, rtol=1e-9)
  # Layers before the start were not run.
  inside = {site: act for site, act in late[1].items() if SITES[site].layered}
  ran = {site: act[1:] for site, act in inside.items()}
  assert_acts_close(
    ran, {site: cut(acts)[site][1:] for site in ran}, atol=1e-10, rtol=1e-9
  )


@pytest.mark.parametrize('tied', [False, True])
def test_unembedding_chosen_tokens_is_choosing_from_all_logits(tied):
  model, params = tiny_model(tied=tied, unembed_bias=True, logit_softcap=3.0)
  tokens = np.random.default_rng(1).integers(0, 31, (B, 2))
  run = jax.jit(lambda **kw: model.apply({'params': params}, TOKENS, **kw)[0])
  whole = np.asarray(run(logit_positions=jnp.array([2, 6])))
  some = run(logit_positions=jnp.array([2, 6]), logit_tokens=jnp.asarray(tokens))
  expected = np.take_along_axis(whole, tokens[:, None], -1)
  np.testing.assert_allclose(some, expected, atol=1e-5)


def test_a_model_that_cannot_run_from_a_position_on_says_so():
  model, params = tiny_model(causal=False)
  assert model.restart_sites == ()
  before = {'k': jnp.zeros((3, B, 2, 4, 4)), 'v': jnp.zeros((3, B, 2, 4, 4))}
  with pytest.raises(ValueError, match='bidirectional'):
    model.apply({'params': params}, TOKENS, before=before)


@pytest.mark.parametrize(
  'before',
  [
    {'k': jnp.zeros((3, B, 2, 4, 4))},
    {'k': jnp.zeros((3, B, 2, 4, 4)), 'v': jnp.zeros((3, B, 1, 4, 4))},
    {'k': jnp.zeros((2, B, 2, 4, 4)), 'v': jnp.zeros((2, B, 2, 4, 4))},
  ],
)
def test_what_is_not_the_earlier_positions_is_refused(before):
  model, params = tiny_model()
  assert isinstance(model, Transformer)
  with pytest.raises(ValueError, match="need the activations of 'k' and 'v'"):
    model.apply({'params': params}, TOKENS, before=before)


def test_earlier_positions_count_against_the_context():
  model, params = tiny_model(context=8)
  before = {site: jnp.zeros((3, B, 2, 4, 4)) for site in 'kv'}
  with pytest.raises(ValueError, match='9 positions'):
    model.apply({'params': params}, TOKENS, before=before)
