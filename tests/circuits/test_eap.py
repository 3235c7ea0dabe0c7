"""Edge attribution: the gradient of the patch, by any of the ways to integrate it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import circuits
from interp_jax.circuits import eap
from interp_jax.circuits.patched import Wiring, dense_wiring, walk
from interp_jax.models import Transformer, TransformerConfig, init_params
from tests.circuits.graphs import make_pair

pytestmark = pytest.mark.usefixtures('double')

EXACT = 1e-11


@functools.cache
def patch_gradient(name):
  """The gradient of the metric with respect to the patch, of the dense run."""
  pair = make_pair(name)

  def measure(patch):
    run = circuits.run_patched(*pair.args, patch, pair.other.senders)
    return pair.metric(run.logits, {})

  grad = jax.jit(jax.grad(measure))
  return lambda patch: np.where(pair.graph.edges, grad(jnp.asarray(patch)), 0)


def attribute(name, **options):
  pair = make_pair(name)
  run = functools.partial(circuits.edge_attribution, *pair.args)
  return run(options.pop('corrupt', pair.corrupt), pair.metric, **options).values


@pytest.mark.parametrize('name', ['gpt2', 'gemma2', 'falcon', 'attn-only'])
def test_eap_is_the_gradient_of_the_patch_at_zero(name):
  expected = patch_gradient(name)(np.zeros(make_pair(name).graph.shape))
  np.testing.assert_allclose(attribute(name, method='eap'), expected, atol=EXACT)
  assert np.abs(expected).max() > 0.01


def test_one_step_to_the_clean_end_is_eap():
  one = attribute('gpt2', method='eap-ig-inputs', steps=1)
  np.testing.assert_allclose(one, attribute('gpt2', method='eap'), atol=EXACT)


@pytest.mark.parametrize(
  ('rule', 'points'),
  [('right', (0.5, 1)), ('left', (0, 0.5)), ('midpoint', (1 / 4, 3 / 4))],
)
def test_eap_ig_of_inputs_is_the_mean_gradient_between_the_inputs(rule, points):
  pair = make_pair('gpt2')
  parts = pair.model.decompose({'params': pair.params}, pair.clean)
  gap = pair.other.senders - pair.own.senders

  @jax.jit
  def gradient(stream):
    own = walk(pair.graph, parts, Wiring(), None, stream=stream)

    def measure(patch):
      wiring = dense_wiring(pair.graph, parts, patch, own.senders + gap, None, None)
      wiring.state = jnp.zeros_like(gap).at[0].set(gap[0])
      run = walk(pair.graph, parts, wiring, None, stream=stream)
      return pair.metric(run.logits, {})

    return jax.grad(measure)(jnp.zeros(pair.graph.shape))

  expected = sum(gradient(pair.other.senders[0] - p * gap[0]) for p in points) / 2
  values = attribute('gpt2', method='eap-ig-inputs', steps=2, rule=rule)
  expected = np.where(pair.graph.edges, expected, 0)
  np.testing.assert_allclose(values, expected, atol=EXACT)


@pytest.mark.parametrize('name', ['gpt2', 'attn-only'])
def test_eap_ig_of_activations_moves_the_senders_of_a_group(name):
  pair, gradient = make_pair(name), patch_gradient(name)
  groups = {}
  for i, sender in enumerate(pair.graph.senders):
    groups.setdefault(sender.partition('.')[0], []).append(i)
  own = np.zeros(pair.graph.shape)
  for senders in groups.values():
    for point in (0.5, 1):
      patch = np.zeros(pair.graph.shape)
      patch[:, senders] = 1 - point
      grad = gradient(patch) / 2
      own[:, senders] += grad[:, senders]
  options = {'method': 'eap-ig-activations', 'steps': 2}
  np.testing.assert_allclose(attribute(name, **options), own, atol=EXACT)


def test_one_step_of_eap_ig_of_activations_is_eap_pooled_or_not():
  expected = attribute('gpt2', method='eap')
  for pooled in (False, True):
    options = {'method': 'eap-ig-activations', 'steps': 1, 'pooled': pooled}
    np.testing.assert_allclose(attribute('gpt2', **options), expected, atol=EXACT)


def test_clean_corrupted_is_the_mean_of_both_ends():
  pair = make_pair('gpt2')
  clean = attribute('gpt2', method='eap')
  back = circuits.edge_attribution(
    pair.model, pair.params, pair.corrupt, pair.clean, pair.metric, method='eap'
  )
  values = attribute('gpt2', method='clean-corrupted')
  # Seen from the corrupted run every difference has the other sign.
  np.testing.assert_allclose(values, (clean - back.values) / 2, atol=EXACT)


def test_activations_may_stand_for_the_corrupted_run():
  pair = make_pair('gpt2')
  values = attribute('gpt2', corrupt=pair.other.senders, method='eap')
  np.testing.assert_allclose(values, attribute('gpt2', method='eap'), atol=EXACT)
  zero = attribute('gpt2', corrupt=0.0, method='eap')
  assert np.abs(zero - values).max() > 0.01


def test_the_gradients_of_all_receivers_are_never_held_together():
  pair = make_pair('gpt2')
  cfg = TransformerConfig(
    vocab_size=31, width=8, layers=8, heads=8, head_dim=1, mlp_width=8, norm='none'
  )
  model, graph = Transformer(cfg), circuits.make_graph(cfg)
  params = jax.eval_shape(lambda: init_params(model))
  tokens = jax.ShapeDtypeStruct((2, 64), jnp.int32)
  points = jax.ShapeDtypeStruct((1,), jnp.float32)
  args = (params, tokens, tokens, pair.metric, points, {})
  lowered = eap._attribute.lower(eap._Setup(model, 'eap', False, True), *args)
  used = lowered.compile().memory_analysis().temp_size_in_bytes
  stream = 2 * 64 * cfg.width * 4
  receivers, senders = graph.shape
  # What all senders write in both runs is; patterns of all layers are, for backward.
  kept = 3 * senders * stream + cfg.layers * cfg.heads * 2 * 64 * 64 * 4 * 3
  assert used < kept + receivers * stream


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'method': 'eap-ig'}, "Unknown method 'eap-ig'"),
    ({'rule': 'middle'}, "Unknown rule 'middle'"),
    ({'steps': 0}, 'at least 1'),
    ({'corrupt': 0.0}, "'eap-ig-inputs' runs the corrupted tokens"),
  ],
)
def test_a_wrong_argument_says_what_is_right(options, message):
  with pytest.raises(ValueError, match=message):
    attribute('gpt2', **options)


def test_tokens_that_do_not_align_are_refused():
  with pytest.raises(ValueError, match='align position by position'):
    eap.check_corrupt(np.zeros((2, 5), int), np.zeros((2, 3), int))


def test_a_metric_of_many_numbers_is_refused():
  pair = make_pair('gpt2')
  each = circuits.logit_difference(*np.zeros((2, 2), int), per_example=True)
  for run in (circuits.edge_attribution, circuits.edge_patching):
    with pytest.raises(ValueError, match='one number'):
      run(*pair.args, pair.corrupt, each)
