"""Attending for a block of queries at a time changes nothing but what is kept."""

import jax
import numpy as np
import pytest

from interp_jax import edits, sharding
from interp_jax.models import empty_cache
from interp_jax.testing import assert_acts_close, tiny_model

TOKENS = np.random.default_rng(0).integers(0, 31, (4, 13))
MASK = np.ones((4, 13), bool)
MASK[0, :4] = MASK[1, 9:] = False


def run(model, params, **options):
  return jax.jit(lambda p: model.apply({'params': p}, TOKENS, **options))(params)


@pytest.mark.parametrize(
  ('block', 'mask', 'options'),
  [
    (13, None, {}),
    (20, None, {'kv_heads': 1}),
    (5, MASK, {'positions': 'alibi', 'kv_heads': 2}),
    (5, MASK, {'positions': 'rotary', 'windows': 5, 'attn_softcap': 3.0}),
    (5, MASK, {'causal': False}),
  ],
)
def test_activations_are_those_of_all_queries_at_once(block, mask, options):
  model, params = tiny_model(layers=2, **options)
  logits, acts = run(model, params, mask=mask)
  again, kept = run(model.clone(query_block=block), params, mask=mask)
  assert set(acts) - set(kept) == {'attn_scores', 'pattern'}
  assert_acts_close(kept, {site: acts[site] for site in kept})
  np.testing.assert_allclose(again, logits, atol=1e-5, rtol=1e-5)


def test_gradients_and_edits_pass_through_it():
  model, params = tiny_model(layers=2)
  shape = (2, 4, 13, 4, 4)

  def loss(delta, model):
    todo = {'z': edits.Add(delta), 'resid_pre': edits.Scale(0.5)}
    return (model.apply({'params': params}, TOKENS, todo, mask=MASK)[0] ** 2).mean()

  delta = np.random.default_rng(0).normal(size=shape).astype('f')
  grad = jax.jit(jax.grad(loss), static_argnums=1)
  whole, blocks = grad(delta, model), grad(delta, model.clone(query_block=8))
  np.testing.assert_allclose(blocks, whole, atol=1e-6, rtol=1e-4)


def test_split_over_devices_it_is_the_same():
  model, params = tiny_model(layers=2, vocab_size=32)
  mesh = sharding.make_mesh(model=2, devices=jax.devices()[:4])
  placed = sharding.place(mesh, sharding.TRANSFORMER_RULES, params)
  blocks = model.clone(query_block=8)
  split = sharding.shard_batch(mesh, TOKENS)
  many = jax.jit(lambda p, t: blocks.apply({'params': p}, t)[0])(placed, split)
  np.testing.assert_allclose(many, run(model, params)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('site', ['attn_scores', 'pattern'])
def test_edits_of_what_is_never_whole_are_refused(site):
  model, params = tiny_model()
  with pytest.raises(ValueError, match=f"'{site}' cannot be edited with query_block=4"):
    run(model.clone(query_block=4), params, edits={site: edits.Scale(0.5)})
  with pytest.raises(ValueError, match='query_block=0 must be at least 1'):
    run(model.clone(query_block=0), params)


def test_a_cache_takes_no_notice_of_it():
  model, params = tiny_model(layers=2)
  outputs = []
  for each in (model, model.clone(query_block=4)):
    cache = empty_cache(each.cfg, 4, 13)
    outputs.append(each.apply({'params': params}, TOKENS, cache, method='extend')[:2])
  np.testing.assert_array_equal(outputs[0][0], outputs[1][0])
  assert set(outputs[0][1]) == set(outputs[1][1])
