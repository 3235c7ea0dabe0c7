"""Head detectors on patterns that are made by hand, and on a model."""

import jax
import numpy as np
import pytest

from interp_jax import lenses
from interp_jax.models import Transformer, TransformerConfig, init_params


def attend(targets):
  """A pattern `[1, B, 1, T, S]` that attends evenly to targets, or else to BOS."""
  pattern = targets.astype(np.float32)
  pattern[..., 0] += ~targets.any(-1)
  return (pattern / pattern.sum(-1, keepdims=True))[None, :, None]


@pytest.fixture
def repeats():
  return lenses.repeated_tokens(16, 100, bos_id=0, periods=(8, 24), seed=3)


def test_rows_repeat_with_periods_of_their_own(repeats):
  assert len(set(repeats.periods)) > 4
  assert repeats.periods.min() >= 8
  assert repeats.periods.max() <= 24
  for row, period in zip(repeats.tokens, repeats.periods, strict=True):
    assert row[0] == 0
    assert len(set(row[1 : 1 + period])) == period
    np.testing.assert_array_equal(row[1 + period :], row[1:-period])
  np.testing.assert_array_equal(repeats.second_copy.sum(1), repeats.periods)
  np.testing.assert_array_equal(repeats.first_copy.sum(1), repeats.periods)


def test_a_perfect_induction_head_scores_one(repeats):
  queries = repeats.second_copy
  targets = np.zeros((*queries.shape, queries.shape[1]), bool)
  for row, at in zip(*np.nonzero(queries), strict=True):
    targets[row, at, at - repeats.periods[row] + 1] = True
  pattern = attend(targets)
  score = lenses.prefix_matching_score(pattern, repeats.tokens, queries)
  assert score[0, 0] == pytest.approx(1)
  assert lenses.duplicate_token_score(pattern, repeats.tokens, queries)[0, 0] < 0.01
  assert lenses.previous_token_score(pattern, repeats.tokens)[0, 0] < 0.1


@pytest.mark.parametrize('offset', [2, 7, 12, 15, 23])
def test_a_head_that_looks_a_fixed_distance_back_is_no_induction_head(repeats, offset):
  length = repeats.tokens.shape[1]
  targets = np.zeros((len(repeats.tokens), length, length), bool)
  targets[:, np.arange(offset, length), np.arange(length - offset)] = True
  score = lenses.prefix_matching_score(
    attend(targets), repeats.tokens, repeats.second_copy
  )
  assert score[0, 0] < 0.4


def test_the_same_head_passes_when_the_period_is_constant():
  repeats = lenses.repeated_tokens(4, 100, bos_id=0, periods=(12, 12))
  length = repeats.tokens.shape[1]
  targets = np.zeros((4, length, length), bool)
  targets[:, np.arange(11, length), np.arange(length - 11)] = True
  score = lenses.prefix_matching_score(
    attend(targets), repeats.tokens, repeats.second_copy
  )
  assert score[0, 0] == pytest.approx(1)


def test_uniform_attention_scores_one_over_the_context(repeats):
  length = repeats.tokens.shape[1]
  seen = np.tril(np.ones((length, length), np.float32))
  pattern = np.broadcast_to(
    seen / seen.sum(-1, keepdims=True), (1, 16, 1, length, length)
  )
  score = lenses.prefix_matching_score(pattern, repeats.tokens, repeats.second_copy)
  at = np.nonzero(repeats.second_copy)[1]
  assert score[0, 0] == pytest.approx((1 / (at + 1)).mean(), rel=1e-4)


def test_previous_and_duplicate_token_heads_score_one(repeats):
  tokens = repeats.tokens
  before = np.asarray(lenses.previous_token_targets(tokens))
  assert lenses.previous_token_score(attend(before), tokens)[0, 0] == pytest.approx(1)
  same = np.asarray(lenses.duplicate_token_targets(tokens))
  assert lenses.duplicate_token_score(
    attend(same), tokens, repeats.second_copy
  )[0, 0] == pytest.approx(1)  # fmt: skip


def make_model(**options):
  cfg = TransformerConfig(
    vocab_size=60,
    width=16,
    layers=2,
    heads=4,
    head_dim=4,
    **({'attn_only': True, 'norm': 'rmsnorm'} | options),
  )
  return Transformer(cfg), init_params(Transformer(cfg), 0)


def test_scoring_a_model_in_batches_equals_scoring_its_pattern():
  model, params = make_model()
  repeats = lenses.repeated_tokens(7, 60, bos_id=0, periods=(4, 9))
  scores = lenses.score_heads(model, params, repeats, batch_size=3)
  tokens, second = repeats.tokens, repeats.second_copy

  @jax.jit
  def at_once(params):
    pattern = model.apply({'params': params}, tokens)[1]['pattern']
    return lenses.HeadScores(
      lenses.prefix_matching_score(pattern, tokens, second),
      lenses.previous_token_score(pattern, tokens),
      lenses.duplicate_token_score(pattern, tokens, second),
    )

  for got, expected in zip(scores, at_once(params), strict=True):
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_a_period_that_does_not_fit_is_refused():
  with pytest.raises(ValueError, match='longest <= 19'):
    lenses.repeated_tokens(2, 20, bos_id=0, periods=(4, 20))
