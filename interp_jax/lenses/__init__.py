"""Lenses: reading a model's state and weights in the vocabulary of its tokens.

The logit lens, the tuned lens and direct logit attribution (by layer, head, neuron and
feature) read the residual stream; the head detectors read attention patterns; QK and OV
circuits, compositions, copying and copy suppression are read off the weights, as
factored matrices; `path_expansion` splits the logits among all paths through heads;
`tokens_promoted` reads any direction.
"""

from interp_jax.lenses.attribution import LogitAttribution, direct_logit_attribution
from interp_jax.lenses.circuits import (
  full_ov_circuits,
  full_qk_circuits,
  ov_circuits,
  path_ov,
  path_qk,
  qk_circuits,
  relative_rotation,
)
from interp_jax.lenses.composition import (
  Composition,
  RandomComposition,
  composition_scores,
  expected_composition,
  random_composition,
)
from interp_jax.lenses.copying import copying_scores
from interp_jax.lenses.factored import FactoredMatrix
from interp_jax.lenses.features import (
  FeatureAttribution,
  NeuronAttribution,
  feature_attribution,
  neuron_attribution,
)
from interp_jax.lenses.heads import (
  HeadScores,
  attention_to,
  duplicate_token_score,
  duplicate_token_targets,
  pattern_similarity,
  prefix_matching_score,
  prefix_matching_targets,
  previous_token_score,
  previous_token_targets,
  score_heads,
)
from interp_jax.lenses.logit_lens import logit_lens
from interp_jax.lenses.paths import PathExpansion, path_expansion
from interp_jax.lenses.repeats import RepeatedTokens, repeated_tokens
from interp_jax.lenses.suppression import (
  CopySuppression,
  copy_suppression_scores,
  effective_embedding,
)
from interp_jax.lenses.tuned_lens import (
  LensScores,
  TunedLens,
  divergences,
  identity_lens,
  load_lens,
  save_lens,
  score_lens,
  tuned_lens,
)
from interp_jax.lenses.tuned_training import (
  TunedLensConfig,
  TunedLensResult,
  train_tuned_lens,
)
from interp_jax.lenses.unembed import (
  tokens_promoted,
  unembedding,
  unembedding_bias,
)
from interp_jax.lenses.writers import (
  embedding,
  head_results,
  neuron_matrices,
  output_matrices,
)

__all__ = [
  'Composition',
  'CopySuppression',
  'FactoredMatrix',
  'FeatureAttribution',
  'HeadScores',
  'LensScores',
  'LogitAttribution',
  'NeuronAttribution',
  'PathExpansion',
  'RandomComposition',
  'RepeatedTokens',
  'TunedLens',
  'TunedLensConfig',
  'TunedLensResult',
  'attention_to',
  'composition_scores',
  'copy_suppression_scores',
  'copying_scores',
  'direct_logit_attribution',
  'divergences',
  'duplicate_token_score',
  'duplicate_token_targets',
  'effective_embedding',
  'embedding',
  'expected_composition',
  'feature_attribution',
  'full_ov_circuits',
  'full_qk_circuits',
  'head_results',
  'identity_lens',
  'load_lens',
  'logit_lens',
  'neuron_attribution',
  'neuron_matrices',
  'output_matrices',
  'ov_circuits',
  'path_expansion',
  'path_ov',
  'path_qk',
  'pattern_similarity',
  'prefix_matching_score',
  'prefix_matching_targets',
  'previous_token_score',
  'previous_token_targets',
  'qk_circuits',
  'random_composition',
  'relative_rotation',
  'repeated_tokens',
  'save_lens',
  'score_heads',
  'score_lens',
  'tokens_promoted',
  'train_tuned_lens',
  'tuned_lens',
  'unembedding',
  'unembedding_bias',
]
