"""Lenses: reading a model's state and weights in the vocabulary of its tokens.

The logit lens and direct logit attribution read the residual stream, the head detectors
read attention patterns and the OV circuit, `tokens_promoted` reads any direction.
"""

from interp_jax.lenses.copying import copying_scores
from interp_jax.lenses.heads import (
  HeadScores,
  attention_to,
  duplicate_token_score,
  duplicate_token_targets,
  prefix_matching_score,
  prefix_matching_targets,
  previous_token_score,
  previous_token_targets,
  score_heads,
)
from interp_jax.lenses.logit_lens import (
  LogitAttribution,
  direct_logit_attribution,
  head_results,
  logit_lens,
  output_matrices,
)
from interp_jax.lenses.repeats import RepeatedTokens, repeated_tokens
from interp_jax.lenses.unembed import (
  tokens_promoted,
  unembedding,
  unembedding_bias,
)

__all__ = [
  'HeadScores',
  'LogitAttribution',
  'RepeatedTokens',
  'attention_to',
  'copying_scores',
  'direct_logit_attribution',
  'duplicate_token_score',
  'duplicate_token_targets',
  'head_results',
  'logit_lens',
  'output_matrices',
  'prefix_matching_score',
  'prefix_matching_targets',
  'previous_token_score',
  'previous_token_targets',
  'repeated_tokens',
  'score_heads',
  'tokens_promoted',
  'unembedding',
  'unembedding_bias',
]
