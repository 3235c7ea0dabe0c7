"""Cached generation is the full run, token by token, under edits and padding too."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import edits
from interp_jax.core import SITES, site_shape
from interp_jax.models import empty_cache, generate
from interp_jax.testing import tiny_model

B, T, N = 2, 4, 4
PROMPTS = np.random.default_rng(0).integers(0, 31, (B, T))
MODELS = {
  'learned': {},
  'shortformer': {'positions': 'shortformer'},
  'rotary, grouped, normed': {'positions': 'rotary', 'kv_heads': 2, 'qk_norm': 'head'},
  'alibi': {'positions': 'alibi'},
  'windows': {'positions': 'rotary', 'windows': (2, None, 3)},
  'capped, sandwich': {
    'positions': 'alibi',
    'windows': 3,
    'attn_softcap': 2.0,
    'norm_placement': 'sandwich',
    'parallel': True,
  },
}


def shaped(site, total=T + N):
  return site_shape(site, cached('learned')[0].cfg, B, total)


# Edits addressed to prompt and continuation, `T + N` positions.
RNG = np.random.default_rng(1)
EDITS = {
  'steering a layer': {
    'resid_post': edits.steer(
      RNG.normal(size=12), np.arange(3)[:, None, None, None] == 1
    )
  },
  'patching a position of the prompt': {
    'resid_pre': edits.Replace(
      RNG.normal(size=(3, B, T + N, 12)), np.arange(T + N)[:, None] == 2
    )
  },
  'adding to each position': {'z': edits.Add(RNG.normal(size=(T + N, 4, 4)))},
  'scaling the newest tokens': {
    'mlp_out': edits.Scale(3.0, np.arange(T + N)[:, None] >= T)
  },
  'projecting by position': {
    'resid_mid': edits.ProjectOut(np.eye(12)[RNG.integers(0, 12, (T + N, 1))])
  },
  'cutting attention to a token': {
    'attn_scores': edits.Replace(-np.inf, np.arange(T + N) == 1)
  },
  'splicing': {'post': edits.Splice(jnp.tanh, 1)},
  'embedding and last norm': {
    'embed': edits.Scale(2.0),
    'ln_final.normalized': edits.Clamp(-1.0, 1.0),
  },
}


@functools.cache
def cached(name):
  model, params = tiny_model(**MODELS[name])
  return model, params


@functools.cache
def unedited_logits():
  model, params = cached('learned')
  return jax.jit(lambda p: generate(model, p, PROMPTS, N).logits)(params)


def check(model, params, todo=None):
  """Greedy, cached generation against the uncached run of the whole sequence."""
  made = jax.jit(lambda p: generate(model, p, PROMPTS, N, todo))(params)
  assert made.tokens.shape == (B, N)
  sequence = np.concatenate([PROMPTS, made.tokens], 1)
  logits, acts = jax.jit(lambda p, t: model.apply({'params': p}, t, todo))(
    params, sequence
  )
  # What is generated is what the full run finds most probable, step by step.
  before = logits[:, T - 1 : -1]
  np.testing.assert_array_equal(made.tokens, before.argmax(-1))
  np.testing.assert_allclose(made.logits, before, rtol=1e-4, atol=1e-4)
  assert set(made.acts) == set(acts)
  for site, act in acts.items():
    axis = SITES[site].full_axes.index('T')
    want = np.take(np.asarray(act), np.arange(T, T + N), axis)
    np.testing.assert_allclose(made.acts[site], want, 1e-4, 1e-4, err_msg=site)
  return made


@pytest.mark.parametrize('name', MODELS)
def test_cached_generation_is_the_full_run(name):
  check(*cached(name))


@pytest.mark.parametrize('name', EDITS)
def test_generation_under_edits_is_the_full_run_under_them(name):
  edited = check(*cached('learned'), EDITS[name])
  assert np.abs(edited.logits - unedited_logits()).max() > 1e-3


@pytest.mark.parametrize('name', ['learned', 'windows'])
def test_a_prompt_padded_on_the_left_continues_as_it_does_alone(name):
  model, params = cached(name)
  lengths = (4, 2)
  mask = np.arange(T) >= T - np.array(lengths)[:, None]
  run = jax.jit(lambda tokens, mask=None: generate(model, params, tokens, N, mask=mask))
  both = run(PROMPTS, mask)
  for row, length in enumerate(lengths):
    prompt = PROMPTS[row : row + 1, T - length :]
    alone = run(prompt)
    np.testing.assert_array_equal(both.tokens[row], alone.tokens[0])
    np.testing.assert_allclose(both.logits[row], alone.logits[0], rtol=1e-4, atol=1e-4)
    for site in ('resid_post', 'z', 'ln1.scale'):
      want = alone.acts[site][:, 0]
      np.testing.assert_allclose(
        both.acts[site][:, row], want, 1e-4, 1e-4, err_msg=site
      )


def test_extending_in_pieces_of_any_size_is_the_full_run():
  model, params = cached('windows')
  tokens = np.concatenate([PROMPTS, PROMPTS[::-1]], 1)
  want, _ = jax.jit(model.apply)({'params': params}, tokens)
  cache, logits = empty_cache(model.cfg, B, 9), []
  extend = jax.jit(functools.partial(model.apply, {'params': params}, method='extend'))
  for start, stop in ((0, 3), (3, 4), (4, 8)):
    piece, _, cache = extend(tokens[:, start:stop], cache)
    logits.append(piece)
  assert cache.length == 8
  np.testing.assert_allclose(np.concatenate(logits, 1), want, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures('float64')
def test_generation_works_in_float64():
  model, params = tiny_model(dtype='float64', param_dtype='float64')
  made = jax.jit(lambda p: generate(model, p, PROMPTS, N))(params)
  assert made.logits.dtype == np.float64
  sequence = np.concatenate([PROMPTS, made.tokens], 1)
  logits, _ = jax.jit(model.apply)({'params': params}, sequence)
  np.testing.assert_allclose(made.logits, logits[:, T - 1 : -1], rtol=1e-11)


def test_samples_depend_on_the_key_and_the_temperature():
  model, params = cached('learned')

  @functools.partial(jax.jit, static_argnames='temperature')
  def draw(seed, temperature):
    rng = jax.random.key(seed)
    return generate(model, params, PROMPTS, 8, temperature=temperature, rng=rng).tokens

  np.testing.assert_array_equal(draw(1, 1.0), draw(1, 1.0))
  assert np.any(draw(1, 1.0) != draw(2, 1.0))
  greedy = jax.jit(lambda: generate(model, params, PROMPTS, 8).tokens)()
  np.testing.assert_array_equal(draw(1, 1e-4), greedy)


def test_samples_follow_the_softmax():
  model, params = tiny_model(layers=1, vocab_size=5)
  prompt = np.zeros((1, 2), int)

  @jax.jit
  def draw(key):
    made = generate(model, params, prompt, 1, temperature=2.0, rng=key)
    return made.tokens[0, 0], made.logits[0, 0]

  tokens, logits = jax.vmap(draw)(jax.random.split(jax.random.key(0), 4000))
  shares = np.bincount(tokens, minlength=5) / 4000
  np.testing.assert_allclose(shares, jax.nn.softmax(logits[0] / 2), atol=0.03)


def test_generation_continues_under_vmapped_edits():
  model, params = cached('learned')
  masks, _ = edits.grid('z', shaped('z'), ('layer',))

  def ablated(mask):
    return generate(model, params, PROMPTS, N, {'z': edits.zero_ablate(mask)}).logits

  together = jax.jit(jax.vmap(ablated))(masks)
  run = jax.jit(ablated)
  for mask, logits in zip(masks, together, strict=True):
    np.testing.assert_allclose(logits, run(mask), rtol=1e-4, atol=1e-4)


BAD_CALLS = {
  'no key': ({'temperature': 1.0}, 'temperature=1.0 needs rng'),
  'no tokens to make': ({'max_new_tokens': 0}, 'max_new_tokens=0 must be at least 1'),
  'more than there are positions for': (
    {'max_new_tokens': 13},
    r'4 \+ 13 positions.*embeddings for 16',
  ),
  'padding on the right': ({'mask': np.arange(T) < [[4], [3]]}, 'pad on the left'),
  'edits of the prompt alone': (
    {'edits': {'z': edits.Add(np.zeros((T, 4, 4)))}},
    'Add.value has 4 positions.*the edited sequence has 8. Give 1 or 8',
  ),
  'unknown site': ({'edits': {'zz': edits.Replace(0.0)}}, "Unknown site 'zz'"),
}


@pytest.mark.parametrize('name', BAD_CALLS)
def test_a_call_that_does_not_fit_says_what_does(name):
  options, message = BAD_CALLS[name]
  model, params = cached('learned')
  with pytest.raises(ValueError, match=message):
    generate(model, params, PROMPTS, **({'max_new_tokens': N} | options))


def test_a_bidirectional_model_is_not_run_token_by_token():
  model, params = tiny_model(causal=False)
  with pytest.raises(ValueError, match='bidirectional'):
    generate(model, params, PROMPTS, N)


def test_positions_without_a_table_have_no_end():
  model, params = tiny_model(positions='alibi', context=4)
  made = jax.eval_shape(lambda: generate(model, params, PROMPTS, 2))
  assert made.tokens.shape == (B, 2)
