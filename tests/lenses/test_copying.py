"""The copying score on OV circuits that are known."""

import numpy as np
import pytest

from interp_jax import lenses
from interp_jax.models import TransformerConfig


def make(**options):
  cfg = TransformerConfig(
    vocab_size=8,
    width=8,
    layers=1,
    attn_only=True,
    **({'norm': 'none', 'heads': 2, 'head_dim': 8} | options),
  )
  rng = np.random.default_rng(0)
  draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
  ones = np.ones((1, 8), np.float32)
  attn = {
    'W_V': draw(1, cfg.kv_heads, 8, cfg.head_dim),
    'W_O': draw(1, cfg.heads, cfg.head_dim, 8),
  }
  blocks = {'attn': attn} | ({} if cfg.norm == 'none' else {'ln1': {'w': ones}})
  params = {'blocks': blocks, 'embed': {'W_E': draw(8, 8)}, 'ln_final': {'w': ones[0]}}
  return cfg, params if cfg.tied else params | {'unembed': {'W_U': draw(8, 8)}}


def with_identity(params, sign):
  """Embeddings of one dimension for each token, and heads that copy (or suppress)."""
  eye = np.eye(8, dtype=np.float32)
  attn = params['blocks']['attn']
  attn |= {'W_V': np.stack([[eye, eye]]), 'W_O': np.stack([[eye, sign * eye]])}
  return params | {'embed': {'W_E': eye}, 'unembed': {'W_U': eye}}


def test_identity_copies_and_its_negative_suppresses():
  cfg, params = make()
  scores = lenses.copying_scores(with_identity(params, -1), cfg)
  np.testing.assert_allclose(scores, [[1, -1]], atol=1e-6)


@pytest.mark.parametrize('norm', ['rmsnorm', 'layernorm'])
def test_norms_do_not_hide_copying(norm):
  cfg, params = make(norm=norm)
  scores = lenses.copying_scores(with_identity(params, 1), cfg)
  np.testing.assert_allclose(scores, [[1, 1]], atol=1e-4)


@pytest.mark.parametrize(
  'options', [{}, {'heads': 4, 'kv_heads': 2, 'head_dim': 3}, {'tied': True}]
)
def test_the_score_is_that_of_the_whole_circuit(options):
  cfg, params = make(**options)
  attn = params['blocks']['attn']
  table = params['embed']['W_E'].T if cfg.tied else params['unembed']['W_U']
  scores = lenses.copying_scores(params, cfg)
  for head in range(cfg.heads):
    group = head // (cfg.heads // cfg.kv_heads)
    circuit = params['embed']['W_E'] @ attn['W_V'][0, group] @ attn['W_O'][0, head]
    values = np.linalg.eigvals(np.asarray(circuit @ table, np.float64))
    expected = values.real.sum() / np.abs(values).sum()
    assert scores[0, head] == pytest.approx(expected, abs=1e-3)


def test_a_token_that_is_only_pushed_down_does_not_hide_that_the_others_are_copied():
  cfg, params = make()
  params = with_identity(params, 1)
  params['unembed']['W_U'] = np.diag([1, 1, 1, 1, 1, 1, 1, -7]).astype(np.float32)
  np.testing.assert_allclose(lenses.copying_scores(params, cfg), 0, atol=1e-6)
  without = lenses.copying_scores(params, cfg, range(7))
  np.testing.assert_allclose(without, 1, atol=1e-6)


@pytest.mark.parametrize('options', [{}, {'heads': 2, 'head_dim': 3}])
def test_the_score_of_some_tokens_is_that_of_their_part_of_the_circuit(options):
  cfg, params = make(**options)
  ids = [0, 2, 3, 5]
  attn, some = params['blocks']['attn'], np.ix_(ids, ids)
  scores = lenses.copying_scores(params, cfg, ids)
  for head in range(cfg.heads):
    circuit = params['embed']['W_E'] @ attn['W_V'][0, head] @ attn['W_O'][0, head]
    whole = np.asarray(circuit @ params['unembed']['W_U'], np.float64)
    values = np.linalg.eigvals(whole[some])
    expected = values.real.sum() / np.abs(values).sum()
    assert scores[0, head] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize('tokens', [[], [8], [-1, 0]])
def test_tokens_that_there_are_none_of_are_refused(tokens):
  cfg, params = make()
  with pytest.raises(ValueError, match='at least one id from 0 to 7'):
    lenses.copying_scores(params, cfg, tokens)
