"""Logit lens, direct attribution, and what a direction promotes."""

import jax
import numpy as np
import pytest

from interp_jax import edits, lenses
from interp_jax.models import Transformer, TransformerConfig, init_params, truncate

OPTIONS = {
  'layernorm': {'norm': 'layernorm', 'parallel': True, 'unembed_bias': True},
  'sandwich': {'norm': 'rmsnorm', 'norm_placement': 'sandwich', 'tied': True},
  'bare': {'norm': 'none', 'attn_only': True, 'positions': 'shortformer'},
}


@pytest.fixture(scope='module', params=sorted(OPTIONS))
def run(request):
  cfg = TransformerConfig(
    vocab_size=30,
    width=12,
    layers=2,
    heads=4,
    head_dim=3,
    mlp_width=16,
    kv_heads=2,
    **({'positions': 'learned'} | OPTIONS[request.param]),
  )
  model = Transformer(cfg)
  rng = np.random.default_rng(0)
  # All drawn, biases and the norms' weights too: at 0 and 1 they would hide mistakes.
  shapes = jax.eval_shape(lambda: init_params(model))
  draw = lambda leaf: rng.normal(0.2, 0.4, leaf.shape).astype(leaf.dtype)
  params = jax.device_put(jax.tree.map(draw, shapes))
  tokens = rng.integers(0, 30, (3, 5))
  logits, acts = jax.jit(model.apply)({'params': params}, tokens)
  return model, params, logits, acts


def test_the_parts_of_the_logits_sum_to_the_logits(run):
  model, params, logits, acts = run
  parts = lenses.direct_logit_attribution(params, model.cfg, acts, [0, 3, -1])
  np.testing.assert_allclose(
    parts.total, logits[:, np.array([0, 3, 4])], atol=2e-5, rtol=1e-5
  )


def test_the_parts_of_a_difference_are_differences_of_the_parts(run):
  model, params, _, acts = run
  right, wrong = np.array([1, 2, 3]), np.array([9, 8, 7])
  whole = lenses.direct_logit_attribution(params, model.cfg, acts, [-1])
  pair = lenses.direct_logit_attribution(params, model.cfg, acts, [-1], right, wrong)
  rows = np.arange(3)
  for name in ('embed', 'heads', 'attn_bias', 'mlp', 'bias', 'attn', 'total'):
    part = getattr(whole, name)[..., 0, :]
    expected = part[..., rows, right] - part[..., rows, wrong]
    np.testing.assert_allclose(getattr(pair, name)[..., 0], expected, atol=1e-5)


def test_the_lens_ends_at_the_models_logits(run):
  model, params, logits, acts = run
  lens = lenses.logit_lens(model, params, acts)
  assert lens.shape == (3, *logits.shape)
  np.testing.assert_allclose(lens[-1], logits, atol=1e-5)
  some = lenses.logit_lens(model, params, acts, [-1])
  np.testing.assert_allclose(some[..., 0, :], lens[..., -1, :], atol=1e-5)


def test_the_lens_reads_the_stream_as_if_the_layers_after_it_were_not_there(run):
  model, params, logits, acts = run
  short, cut = truncate(model, params, 1)
  # The truncated model reads only `resid`, and gives the second row of the lens.
  alone = jax.jit(short.apply)({'params': cut}, None, resid=acts['resid_pre'][0])[0]
  if model.cfg.positions == 'shortformer':
    alone = alone.reshape(logits.shape)
  lens = lenses.logit_lens(model, params, acts)
  np.testing.assert_allclose(lens[1], alone, atol=1e-5)


def test_a_direction_promotes_the_tokens_whose_logits_it_raises(run):
  model, params, _, acts = run
  cfg = model.cfg
  direction = np.random.default_rng(1).normal(size=(2, cfg.width)).astype(np.float32)
  ids, values = lenses.tokens_promoted(direction, params, cfg, 4)
  # The slope of the logits along the direction, the divisor of the norm held fixed.
  scale = acts.get('ln_final.scale', np.ones((3, 5, 1), np.float32))
  hold = {'ln_final.scale': edits.Replace(scale)} if cfg.norm != 'none' else None

  @jax.jit
  def at(stream):
    end = {'resid': stream, 'start': cfg.layers}
    return model.apply({'params': params}, None, hold, **end)[0]

  stream = acts['resid_post'][-1]
  for row in range(2):
    slope = (at(stream + direction[row]) - at(stream))[0, 0] * scale[0, 0, 0]
    slope = np.asarray(slope - slope.mean())
    np.testing.assert_allclose(slope[ids[row]], values[row], atol=1e-4)
    assert set(np.argsort(-slope)[:4]) == set(ids[row].tolist())


def test_wrong_arguments_say_what_is_right(run):
  model, params, _, acts = run
  with pytest.raises(ValueError, match=r'give \[..., 12\] and 1 to 30'):
    lenses.tokens_promoted(np.zeros(5, np.float32), params, model.cfg)
  with pytest.raises(ValueError, match='give `correct` with `wrong`'):
    lenses.direct_logit_attribution(
      params, model.cfg, acts, [-1], wrong=np.array([1, 2, 3])
    )
