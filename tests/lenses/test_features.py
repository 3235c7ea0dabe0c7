"""Neurons and features: the parts of a logit sum to what they are parts of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import edits, lenses
from interp_jax.testing import tiny_model

pytestmark = pytest.mark.usefixtures('double')

MODELS = {
  'layernorm': {'positions': 'learned', 'parallel': True, 'unembed_bias': True},
  'sandwich': {'norm': 'rmsnorm', 'norm_placement': 'sandwich', 'gated': True},
}
AT = [0, -1]
RIGHT, WRONG = np.array([3, 4]), np.array([9, 8])


@pytest.fixture(scope='module', params=MODELS)
def run(request, double):
  wide = {'dtype': 'float64', 'param_dtype': 'float64', 'layers': 2}
  model, params = tiny_model(**wide, **MODELS[request.param])
  tokens = np.random.default_rng(0).integers(0, 31, (2, 6))
  return model, params, tokens, jax.jit(model.apply)({'params': params}, tokens)[1]


def close(actual, expected):
  np.testing.assert_allclose(actual, expected, atol=1e-11)


def answer(run, at=AT):
  return run[1], run[0].cfg, run[3], at, RIGHT, WRONG


def test_neurons_and_bias_sum_to_the_mlps(run):
  parts = lenses.neuron_attribution(*answer(run))
  assert parts.neurons.shape == (2, 2, 2, 20)
  close(parts.total, lenses.direct_logit_attribution(*answer(run)).mlp)


def test_a_neuron_adds_what_goes_away_without_it(run):
  """Past all later layers, the divisors of norms held fixed."""
  model, params, tokens, acts = run
  parts = lenses.neuron_attribution(*answer(run))
  hold = {name: edits.Replace(acts[name]) for name in acts if name.endswith('.scale')}
  neuron = edits.select('post', acts['post'].shape, layer=1, unit=7)

  @jax.jit
  def difference(todo):
    logits = model.apply({'params': params}, tokens, todo)[0][:, jnp.array(AT)]
    return logits[[0, 1], :, RIGHT] - logits[[0, 1], :, WRONG]

  without = difference(hold | {'post': edits.zero_ablate(neuron)})
  close(parts.neurons[1, :, :, 7], difference(hold) - without)


@pytest.mark.parametrize('site', ['mlp_out', 'resid_post', 'z', 'post', 'embed'])
def test_features_bias_and_error_sum_to_the_site(site, run):
  model, params, _, acts = run
  rng = np.random.default_rng(1)
  act = acts[site] if site == 'embed' else acts[site][1]
  width = int(np.prod(act.shape[2:]))
  W_dec, b_dec = rng.normal(size=(5, width)), rng.normal(size=width)
  codes = np.maximum(rng.normal(size=(2, 2, 5)), 0)
  parts = lenses.feature_attribution(
    params, model.cfg, acts, site, 1, codes, W_dec, AT, RIGHT, WRONG, b_dec
  )
  reconstruction = (codes @ W_dec + b_dec).reshape(2, 2, *act.shape[2:])
  scale = acts['ln_final.scale'][:, np.array(AT)]
  unembed = lenses.unembedding(params, model.cfg).T
  to_stream = {
    'z': ('bthk,hkd->btd', lenses.output_matrices, 'ln1_post.scale'),
    'post': ('btm,md->btd', lenses.neuron_matrices, 'ln2_post.scale'),
  }

  def direct(x):
    if site in to_stream:
      how, matrices, norm = to_stream[site]
      x = jnp.einsum(how, x, matrices(params, model.cfg)[1])
      x = x / acts[norm][1][:, np.array(AT)] if norm in acts else x
    return jnp.einsum('bpd,bd->bp', x / scale, unembed[RIGHT] - unembed[WRONG])

  close(parts.total, direct(act[:, np.array(AT)]))
  close(parts.features.sum(-1) + parts.bias, direct(reconstruction))
  close(parts.features[..., 2], direct(
    (codes[..., 2:3] * W_dec[2]).reshape(reconstruction.shape)
  ))  # fmt: skip


def test_one_answer_alone_is_half_of_a_difference(run):
  params, cfg, acts, at, *_ = answer(run)
  right, wrong = (
    lenses.neuron_attribution(params, cfg, acts, at, a) for a in (RIGHT, WRONG)
  )
  both = lenses.neuron_attribution(*answer(run))
  close(both.neurons, right.neurons - wrong.neurons)


def test_what_does_not_fit_is_refused(run):
  model, params, _, acts = run
  rest = (AT, RIGHT)
  give = lambda site, codes, rows: lenses.feature_attribution(
    params, model.cfg, acts, site, 0, codes, rows, *rest
  )
  with pytest.raises(ValueError, match=r'attn_scores.*resid_post'):
    give('attn_scores', np.zeros((2, 2, 5)), np.zeros((5, 12)))
  with pytest.raises(ValueError, match=r'give \[B, 2, F\] and \[F, 16\]'):
    give('z', np.zeros((2, 2, 5)), np.zeros((5, 12)))
  with pytest.raises(ValueError, match='it has no MLPs'):
    lenses.neuron_matrices({'blocks': {}}, model.cfg)
