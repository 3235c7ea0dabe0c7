"""One function, whose edits, partial runs and shardings mean what they say."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import edits
from interp_jax.core import SITES, site_names, site_shape
from interp_jax.models import (
  Transformer,
  TransformerConfig,
  init_params,
  truncate,
)
from interp_jax.models.block import Block, Geometry
from interp_jax.models.rotary import rotary_frequencies
from interp_jax.models.taps import Tap
from interp_jax.sharding import TRANSFORMER_RULES, make_mesh, place, shard_batch
from interp_jax.testing import random_params, tiny_model

B, T = 2, 6
TOKENS, OTHER = np.random.default_rng(0).integers(0, 31, (2, B, T))
# Between them, these have every site of the table.
MODELS = {
  'gated': {
    'positions': 'rotary',
    'norm_placement': 'sandwich',
    'norm': 'rmsnorm',
    'gated': True,
    'act': 'silu',
    'kv_heads': 2,
  },
  'solu': {'act': 'solu_ln'},
  'encoder': {
    'causal': False,
    'norm_placement': 'residual',
    'embed_norm': True,
    'token_types': 2,
    'head': 'mlm',
    'tied': True,
    'unembed_bias': True,
    'pooler': True,
  },
  'mixture': {
    'positions': 'rotary',
    'norm_placement': 'post',
    'norm': 'rmsnorm',
    'gated': True,
    'mlp_bias': False,
    'experts': 5,
    'experts_per_token': 2,
    'qk_norm': 'width',
  },
}


def close(got, want, rtol=1e-5, atol=1e-5):
  """Compares logits and acts, by site."""
  assert set(got[1]) == set(want[1])
  np.testing.assert_allclose(got[0], want[0], rtol, atol, err_msg='logits')
  for site in want[1]:
    np.testing.assert_allclose(got[1][site], want[1][site], rtol, atol, err_msg=site)


def equal(got, want):
  close(got, want, rtol=0, atol=0)


class Editable:
  """A model compiled once for edits at all its sites, to be switched on by masks."""

  def __init__(self, **options):
    self.model, self.params = tiny_model(**options)
    self.cfg = self.model.cfg
    self.sites = site_names(self.cfg)
    self.run = jax.jit(self._run)

  def _run(self, params, tokens, values, masks, deltas):
    both = {
      site: (edits.Replace(values[site], masks[site]), edits.Add(deltas[site]))
      for site in self.sites
    }
    return self.model.apply({'params': params}, tokens, both)

  def zeros(self):
    dtype = self.cfg.dtype
    return {s: jnp.zeros(site_shape(s, self.cfg, B, T), dtype) for s in self.sites}

  def masks(self, **layers):
    """Edit these sites: all layers for True, or a list of layers."""
    out = {}
    for site in self.sites:
      shape = site_shape(site, self.cfg, B, T)
      out[site] = np.zeros(shape[:1] + (1,) * (len(shape) - 1), bool)
      if site in layers:
        out[site][slice(None) if layers[site] is True else layers[site]] = True
      if not SITES[site].layered:
        out[site] = np.broadcast_to(out[site][:1], [1] * len(shape))
    return out

  def __call__(self, tokens=TOKENS, values=None, masks=None, deltas=None):
    return self.run(
      self.params,
      tokens,
      self.zeros() | (values or {}),
      self.masks() if masks is None else masks,
      self.zeros() | (deltas or {}),
    )


@functools.cache
def editable(name):
  return Editable(**MODELS[name])


@functools.cache
def plain(**options):
  """A tiny model, its parameters and its compiled forward pass."""
  model, params = tiny_model(**options)
  return model, params, jax.jit(functools.partial(model.apply, {'params': params}))


def test_the_models_here_have_every_site():
  assert {s for name in MODELS for s in editable(name).sites} == set(SITES)


@pytest.mark.parametrize('name', MODELS)
def test_an_edit_that_is_the_identity_changes_nothing_bit_for_bit(name):
  model = editable(name)
  base = model()
  for site in model.sites:
    kept = model(values=base[1], masks=model.masks(**{site: True}))
    equal(kept, base)
  unedited = jax.jit(model.model.apply)({'params': model.params}, TOKENS)
  close(base, unedited, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('name', MODELS)
def test_an_edit_changes_no_earlier_site_and_reaches_the_logits(name):
  model = editable(name)
  base_logits, base = model()
  rng = np.random.default_rng(1)
  for site in differentiable(model.sites):
    delta = np.array(model.zeros()[site])
    edited = delta[1] if SITES[site].layered else delta
    edited += rng.normal(size=edited.shape)
    logits, acts = model(deltas={site: delta})
    assert np.abs(logits - base_logits).max() > 1e-4, site
    want = in_forward_order(model.sites, base)
    for when, act in in_forward_order(model.sites, acts).items():
      if when < moment(model.sites, site, layer=1):
        np.testing.assert_array_equal(act, want[when], f'{site} changed {when}')


def differentiable(sites):
  return [site for site in sites if site != 'expert_choices']  # These are integers.


def moment(sites, site, layer):
  """When an activation is computed: the names are in forward order in each layer."""
  if not SITES[site].layered:
    layer = 99 if site.startswith('ln_final') else -1
  return layer, sites.index(site)


def in_forward_order(sites, acts):
  return {
    moment(sites, site, layer): act[layer] if SITES[site].layered else act
    for site, act in acts.items()
    for layer in (range(len(act)) if SITES[site].layered else [0])
  }


@pytest.mark.parametrize('name', MODELS)
@pytest.mark.parametrize(
  'sites',
  [
    {'resid_pre': [0]},
    {'resid_post': [2]},
    {'embed': True, 'pos_embed': True},
    {'embed': True, 'pos_embed': True, 'attn_out': True, 'mlp_out': True},
    {'resid_mid': [2], 'mlp_out': [2]},
    {'ln_final.normalized': True},
  ],
  ids='+'.join,
)
def test_patching_all_that_reaches_the_logits_gives_the_other_runs_logits(name, sites):
  model = editable(name)
  want = model(OTHER)
  got = model(values=want[1], masks=model.masks(**sites))
  np.testing.assert_allclose(got[0], want[0], rtol=1e-5, atol=1e-5)
  assert np.abs(want[0] - model()[0]).max() > 0.1


@pytest.mark.parametrize('name', MODELS)
def test_patching_every_site_gives_the_other_runs_acts(name):
  model = editable(name)
  want = model(OTHER)
  equal(
    model(values=want[1], masks=model.masks(**dict.fromkeys(model.sites, True))), want
  )


@pytest.mark.parametrize('name', MODELS)
@pytest.mark.usefixtures('float64')
def test_gradients_of_a_zero_delta_are_finite_differences_at_every_site(name):
  model = Editable(**MODELS[name], dtype='float64', param_dtype='float64')
  zeros, masks, params = model.zeros(), model.masks(), model.params
  rng = np.random.default_rng(2)
  weights = rng.normal(size=(B, T, model.cfg.vocab_size))

  @jax.jit
  def loss(deltas):
    return jnp.sum(weights * model._run(params, TOKENS, zeros, masks, deltas)[0])

  gradients = jax.jit(jax.grad(loss))(zeros)
  step = 1e-5
  for site in differentiable(model.sites):
    direction = rng.normal(size=zeros[site].shape)
    ends = [loss(zeros | {site: sign * step * direction}) for sign in (1, -1)]
    expected = (ends[0] - ends[1]) / (2 * step)
    got = jnp.vdot(gradients[site], direction)
    assert abs(expected) > 1e-3, site
    np.testing.assert_allclose(got, expected, rtol=1e-6, err_msg=site)


def test_scanned_layers_equal_unrolled_layers():
  options = {'positions': 'rotary', 'windows': (2, None, 3)}
  model, params, run = plain(**options)
  unrolled = jax.jit(Transformer(model.cfg, unroll=True).apply)
  close(unrolled({'params': params}, TOKENS), run(TOKENS))


def test_scanned_layers_equal_a_python_loop_over_blocks():
  model, params, run = plain(positions='rotary', windows=(2, None, 3))
  acts = run(TOKENS)[1]
  cfg = model.cfg
  ages = np.arange(T)[:, None] - np.arange(T)
  block = jax.jit(functools.partial(_run_block, Block(cfg)))
  x = acts['embed']
  for layer, window in enumerate((2, T, 3)):
    geometry = Geometry(
      positions=jnp.arange(T)[None],
      distance=jnp.asarray(ages)[None],
      allowed=jnp.asarray((ages >= 0) & (ages < window))[None],
      attn_scale=cfg.head_dim**-0.5,
      frequencies=jnp.asarray(rotary_frequencies(4, 10_000.0, None, T), 'float32'),
      rotary_factor=1.0,
    )
    own = jax.tree.map(operator.itemgetter(layer), params['blocks'])
    x, here = block(own, x, geometry)
    assert set(here) == {site for site in acts if SITES[site].layered}
    for site, act in here.items():
      np.testing.assert_allclose(acts[site][layer], act, 1e-5, 1e-5, err_msg=site)


def _run_block(block, params, x, geometry):
  tap = Tap({}, jnp.int32(0))
  return block.apply({'params': params}, x, tap, geometry)[0], tap.acts


@pytest.mark.parametrize('causal', [True, False])
def test_logits_depend_on_earlier_positions_only_if_causal(causal):
  model, params, _ = plain(causal=causal)
  weights = np.random.default_rng(3).normal(size=model.cfg.vocab_size)

  def score(delta, at):
    logits, _ = model.apply({'params': params}, TOKENS, {'embed': edits.Add(delta)})
    return logits[:, at] @ weights @ jnp.ones(B)

  zero = jnp.zeros((B, T, model.cfg.width))
  gradient = jax.jit(jax.vmap(jax.grad(score), (None, 0)))(zero, jnp.arange(T))
  reached = np.abs(gradient).max((1, 3)) > 0  # [T of the logit, T of the embedding]
  np.testing.assert_array_equal(reached, np.tri(T) if causal else np.ones((T, T)))


def test_windows_bound_how_far_back_a_layer_sees():
  *_, run = plain(positions='rotary', windows=(2, None, 3))
  pattern = run(TOKENS)[1]['pattern']
  ages = np.arange(T)[:, None] - np.arange(T)
  for layer, window in enumerate((2, T, 3)):
    seen = (ages >= 0) & (ages < window)
    np.testing.assert_array_equal(
      pattern[layer] > 0, np.broadcast_to(seen, (2, 4, T, T))
    )


@pytest.mark.parametrize('positions', ['learned', 'rotary'])
def test_what_stands_at_padding_changes_nothing(positions):
  *_, run = plain(positions=positions)
  mask = np.array([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]], bool)
  one, two = (run(np.where(mask, TOKENS, fill), mask=mask) for fill in (0, OTHER))
  np.testing.assert_array_equal(one[0][mask], two[0][mask])
  for site in ('resid_post', 'z', 'ln1.scale'):
    np.testing.assert_array_equal(one[1][site][:, mask], two[1][site][:, mask])
  # Nobody attends to padding.
  pattern = one[1]['pattern']
  assert np.all(np.where(mask[:, None, None], 0, pattern) == 0)


def test_padding_a_sequence_changes_none_of_its_logits_and_acts():
  *_, run = plain(positions='rotary')
  whole = run(TOKENS[:1, :4])
  for left in (0, 1, 2):
    at = left + np.arange(4)
    padded, mask = np.zeros((1, T), int), np.zeros((1, T), bool)
    padded[:, at], mask[:, at] = TOKENS[:1, :4], True
    logits, acts = run(padded, mask=mask)
    np.testing.assert_allclose(logits[:, at], whole[0], rtol=1e-5, atol=1e-5)
    for site in ('q', 'rot_q', 'z', 'post', 'resid_post'):
      np.testing.assert_allclose(acts[site][:, :, at], whole[1][site], 1e-5, 1e-5)
    pattern = acts['pattern'][:, :, :, at][..., at]
    np.testing.assert_allclose(pattern, whole[1]['pattern'], 1e-5, 1e-5)


def test_a_mask_without_padding_is_no_mask():
  *_, run = plain()
  close(run(TOKENS, mask=np.ones((B, T), bool)), run(TOKENS))


def test_a_row_of_nothing_but_padding_stays_finite():
  *_, run = plain()
  logits, acts = run(TOKENS, mask=np.array([[1] * T, [0] * T], bool))
  assert np.isfinite(logits).all()
  np.testing.assert_array_equal(acts['pattern'][:, 1], 0)


@pytest.mark.parametrize('positions', ['shortformer', 'alibi'])
def test_splitting_a_batch_changes_nothing(positions):
  *_, run = plain(positions=positions)
  logits, acts = run(TOKENS)
  for row in range(B):
    one = run(TOKENS[row : row + 1])
    batch_axis = {site: SITES[site].full_axes.index('B') for site in acts}
    rows = {s: np.take(a, [row], batch_axis[s]) for s, a in acts.items()}
    close(one, (logits[row : row + 1], rows))


def test_partial_runs_equal_the_full_run_and_compile_once():
  model, params, run = plain()
  full_logits, full = run(TOKENS)
  traces = []

  @jax.jit
  def part(resid, start, stop):
    traces.append(0)
    return model.apply({'params': params}, None, resid=resid, start=start, stop=stop)

  layers = model.cfg.layers
  for start in range(layers):
    for stop in range(start, layers + 1):
      logits, acts = part(full['resid_pre'][start], start, stop)
      for site in (s for s in acts if SITES[s].layered):
        inside = (np.arange(layers) >= start) & (np.arange(layers) < stop)
        inside = inside.reshape(-1, *[1] * (acts[site].ndim - 1))
        want = np.where(inside, full[site], 0)
        np.testing.assert_allclose(acts[site], want, 1e-5, 1e-5, err_msg=site)
      if stop == layers:
        np.testing.assert_allclose(logits, full_logits, rtol=1e-5, atol=1e-5)
  assert len(traces) == 1
  # Layers outside are skipped, not computed and thrown away.
  assert 'stablehlo.case' in part.lower(full['resid_pre'][0], 0, 1).as_text()


def test_a_run_of_no_layers_is_the_unembedding_and_its_gradient_passes_none():
  model, params, run = plain()
  logits, acts = run(TOKENS)
  layers = model.cfg.layers

  def leave(resid):
    end = {'resid': resid, 'start': layers}
    return model.apply({'params': params}, None, **end)

  alone, none = jax.jit(leave)(acts['resid_post'][-1])
  np.testing.assert_allclose(alone, logits, rtol=1e-5, atol=1e-5)
  assert none.keys() == acts.keys() - {'embed', 'pos_embed'}
  assert not np.any(none['z'])
  grad = jax.jit(jax.grad(lambda resid: leave(resid)[0].sum()))
  program = grad.lower(acts['resid_post'][-1]).as_text()
  assert 'stablehlo.case' not in program
  assert 'stablehlo.while' not in program


def test_a_run_that_stops_early_unembeds_the_stream_of_a_truncated_model():
  model, params, run = plain()
  short, short_params = truncate(model, params, 2)
  logits, acts = jax.jit(short.apply)({'params': short_params}, TOKENS)
  _, full = run(TOKENS)
  for site in (s for s in full if SITES[s].layered):
    np.testing.assert_allclose(acts[site], full[site][:2], 1e-6, 1e-6, err_msg=site)
  np.testing.assert_allclose(run(TOKENS, stop=2)[0], logits, rtol=1e-5, atol=1e-5)


def test_truncation_keeps_what_differs_by_layer():
  model, params, run = plain(positions='rotary', windows=(2, None, 3))
  short, short_params = truncate(model, params, 2)
  assert short.cfg.windows == (2, None)
  acts = jax.jit(short.apply)({'params': short_params}, TOKENS)[1]
  np.testing.assert_allclose(acts['z'], run(TOKENS)[1]['z'][:2], 1e-5, 1e-5)


def test_edits_outside_the_layers_that_run_do_nothing():
  *_, run = plain()
  hurt = {'z': edits.zero_ablate(np.arange(3)[:, None, None, None, None] == 0)}
  resid = run(TOKENS)[1]['resid_pre'][1]
  edited = run(None, hurt, resid=resid, start=1)
  close(edited, run(None, resid=resid, start=1))


@pytest.mark.parametrize('at', [[1, 4], [-1], [[0, 5], [2, 2]]])
def test_unembedding_chosen_positions_is_choosing_from_all_logits(at):
  *_, run = plain()
  rows = np.broadcast_to(np.array(at), (B, np.shape(at)[-1]))
  want = np.take_along_axis(np.asarray(run(TOKENS)[0]), rows[..., None], axis=1)
  got = run(TOKENS, logit_positions=np.array(at))[0]
  np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_sixteen_bits_are_close_to_thirty_two(dtype):
  model, params, run = plain(positions='rotary', qk_norm='head')
  half = Transformer(TransformerConfig(**(model.cfg.to_dict() | {'dtype': dtype})))
  logits, acts = jax.jit(half.apply)({'params': params}, TOKENS)
  want_logits, want = run(TOKENS)
  assert logits.dtype == jnp.float32
  assert acts['resid_post'].dtype == acts['z'].dtype == jnp.dtype(dtype)
  assert acts['attn_scores'].dtype == acts['ln1.scale'].dtype == jnp.float32
  relative = {'bfloat16': 0.04, 'float16': 0.005}[dtype]
  for got, exact in ((logits, want_logits), (acts['resid_post'], want['resid_post'])):
    error = np.asarray(got, np.float32) - exact
    assert 0 < np.linalg.norm(error) < relative * np.linalg.norm(exact)


@pytest.mark.parametrize(('data', 'model_axis'), [(8, 1), (4, 2)])
def test_eight_devices_equal_one(data, model_axis):
  model, params = tiny_model(vocab_size=32, positions='rotary', gated=True)
  tokens = np.random.default_rng(4).integers(0, 32, (8, T))
  edit = {'z': edits.Scale(2.0, np.arange(3)[:, None, None, None, None] == 1)}
  run = jax.jit(lambda p, t: model.apply({'params': p}, t, edit))
  mesh = make_mesh(data, model_axis)
  placed = place(mesh, TRANSFORMER_RULES, params), shard_batch(mesh, tokens)
  logits, acts = run(*placed)
  assert len(logits.sharding.device_set) == 8
  assert acts['z'].addressable_shards[0].data.shape[1] == 8 // data
  assert acts['z'].addressable_shards[0].data.shape[3] == 4 // model_axis
  close((logits, acts), run(params, tokens))


def test_copies_of_a_model_on_a_data_mesh_do_not_communicate():
  model, params = tiny_model(vocab_size=32)
  mesh = make_mesh(8, 1)
  inputs = (
    place(mesh, TRANSFORMER_RULES, params),
    shard_batch(mesh, np.zeros((8, T), int)),
  )
  run = jax.jit(lambda p, t: model.apply({'params': p}, t))
  program = run.lower(*inputs).compile().as_text()
  for collective in ('all-gather', 'all-reduce', 'all-to-all', 'collective-permute'):
    assert collective not in program


def test_initial_parameters_depend_on_the_seed_alone_and_have_their_scale():
  model, _ = tiny_model(width=64, mlp_width=64, layers=2, attn_only=False)
  one, same = init_params(model, 1), init_params(model, 1)
  jax.tree.map(np.testing.assert_array_equal, one, same)
  other = init_params(model, 2)
  assert not np.allclose(one['blocks']['attn']['W_Q'], other['blocks']['attn']['W_Q'])
  attn, mlp = one['blocks']['attn'], one['blocks']['mlp']
  assert not np.allclose(attn['W_Q'][0], attn['W_Q'][1])
  for weight, std in [
    (attn['W_Q'], 64**-0.5),
    (attn['W_O'], (2 * 2 * 16) ** -0.5),
    (mlp['W_in'], 64**-0.5),
    (mlp['W_out'], (2 * 2 * 64) ** -0.5),
    (one['embed']['W_E'], 64**-0.5),
  ]:
    np.testing.assert_allclose(np.std(weight), std, rtol=0.1)
  assert not np.any(attn['b_Q'])
  assert not np.any(mlp['b_out'])
  assert np.all(one['blocks']['ln1']['w'] == 1)


def test_parameters_and_acts_lead_with_the_layer():
  model, params = tiny_model(kv_heads=2)
  for leaf in jax.tree.leaves(params['blocks']):
    assert leaf.shape[0] == model.cfg.layers
  shapes = jax.tree.map(np.shape, params['blocks']['attn'])
  assert shapes['W_Q'] == (3, 4, 12, 4)
  assert shapes['W_K'] == (3, 2, 12, 4)
  assert shapes['W_O'] == (3, 4, 4, 12)


BAD_CALLS = {
  'no input': (lambda: {'tokens': None}, 'Give either tokens.*got neither'),
  'two inputs': (
    lambda: {'tokens': TOKENS, 'resid': np.zeros((B, T, 12), np.float32)},
    'Give either tokens.*got both',
  ),
  'too long': (lambda: {'tokens': np.zeros((1, 17), int)}, '17 positions.*for 16'),
  'unknown site': (
    lambda: {'tokens': TOKENS, 'edits': {'resid_prev': edits.Replace(0.0)}},
    "Unknown site 'resid_prev'. Did you mean 'resid_pre'.*Valid: embed",
  ),
  'site of other models': (
    lambda: {'tokens': TOKENS, 'edits': {'rot_q': edits.Replace(0.0)}},
    "Unknown site 'rot_q'",
  ),
  'edit of a wrong shape': (
    lambda: {'tokens': TOKENS, 'edits': {'z': edits.Add(np.zeros((5, 4)))}},
    r"Add.value at site 'z' has shape \(5, 4\).*\(3, 2, 6, 4, 4\) \[L, B, T, H, K\]",
  ),
  'a value larger than the act': (
    lambda: {'tokens': TOKENS, 'edits': {'z': edits.Add(np.zeros((2, 3, 2, 6, 4, 4)))}},
    'does not broadcast',
  ),
  'a basis without rows': (
    lambda: {'tokens': TOKENS, 'edits': {'z': edits.ProjectOut(np.ones(4))}},
    r'basis: \[..., R, X\]',
  ),
  'a soft mask': (
    lambda: {'tokens': TOKENS, 'edits': {'z': edits.Replace(0.0, 0.5)}},
    'mask selects.*Interpolate',
  ),
  'a layer too many': (
    lambda: {'tokens': TOKENS, 'edits': {'z': edits.Splice(jnp.tanh, 3)}},
    'Splice.layer.*is 3.*0..2',
  ),
  'a splice without its layer': (
    lambda: {'tokens': TOKENS, 'edits': {'z': edits.Splice(jnp.tanh)}},
    'inside the layers needs',
  ),
  'an edit before the residual stream': (
    lambda: {
      'tokens': None,
      'resid': np.zeros((B, T, 12), np.float32),
      'edits': {'embed': edits.Replace(0.0)},
    },
    'does not pass embed',
  ),
  'a mask of another length': (
    lambda: {'tokens': TOKENS, 'mask': np.ones((B, T + 1), bool)},
    r'mask must be \[B, T\] = \(2, 6\); got shape \(2, 7\)',
  ),
  'a wrong width': (
    lambda: {'tokens': None, 'resid': np.zeros((B, T, 13), np.float32)},
    r'resid must be \[B, T, 12\]; got shape \(2, 6, 13\)',
  ),
  'a start past the end': (
    lambda: {'tokens': TOKENS, 'start': 2, 'stop': 1},
    '0 <= start <= stop <= 3',
  ),
  'a negative start': (lambda: {'tokens': TOKENS, 'start': -1}, 'start=-1'),
}


@pytest.mark.usefixtures('unchecked_types')
@pytest.mark.parametrize('name', BAD_CALLS)
def test_a_call_that_does_not_fit_says_what_does(name):
  model, params, _ = plain()
  arguments, message = BAD_CALLS[name]
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(lambda: model.apply({'params': params}, **arguments()))


@pytest.mark.usefixtures('unchecked_types')
def test_what_is_not_an_edit_is_refused():
  model, params, _ = plain()
  with pytest.raises(TypeError, match="site 'z': ndarray is not an edit"):
    model.apply({'params': params}, TOKENS, {'z': [np.zeros(3)]})


@pytest.mark.parametrize('layers', [0, 4])
def test_truncation_to_layers_that_are_not_there_is_refused(layers):
  with pytest.raises(ValueError, match=rf'layers={layers}; the model has 1..3'):
    truncate(*plain()[:2], layers)


def test_a_model_is_reproducible_inside_transforms_of_parameters():
  # vmap over parameters: two models in one program.
  model, params, run = plain()
  other = random_params(model, seed=9)
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), params, other)
  both = jax.jit(jax.vmap(lambda p: model.apply({'params': p}, TOKENS)[0]))(stacked)
  np.testing.assert_allclose(both[0], run(TOKENS)[0], rtol=1e-5, atol=1e-5)
  assert np.abs(both[0] - both[1]).max() > 0.1


@pytest.mark.parametrize('wrong', [-1, 31])
def test_a_token_that_is_not_in_the_vocabulary_is_refused(wrong):
  model, params = tiny_model()
  tokens = np.array([[1, wrong, 2]])
  with pytest.raises(ValueError, match=r'0\.\.30'):
    model.apply({'params': params}, tokens)
