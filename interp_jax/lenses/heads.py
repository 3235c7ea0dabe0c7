"""Head detectors: where does a head attend?

A score is the mean of the attention that goes where a definition says (Olsson et al.
2022, "In-context Learning and Induction Heads", appendix). The text that it is measured
on is part of the definition: see `RepeatedTokens`.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import numpy as np

from interp_jax.core import Model, unknown
from interp_jax.lenses.repeats import RepeatedTokens

Tokens = Int[Array | np.ndarray, 'B T']
Pattern = Float[Array | np.ndarray, 'L B H T S']
Targets = Bool[Array | np.ndarray, 'B T S']
Scores = Float[Array, 'L H']


def prefix_matching_targets(tokens: Tokens) -> Bool[Array, 'B T S']:
  """For each token, the tokens that came after its earlier occurrences."""
  tokens = jnp.asarray(tokens)
  shifted = jnp.roll(tokens, 1, axis=1)
  same = tokens[:, :, None] == shifted[:, None, :]
  position = jnp.arange(tokens.shape[1])
  # The follower of an earlier occurrence: 0 < s <= t.
  return same & (position <= position[:, None]) & (position > 0)


def duplicate_token_targets(tokens: Tokens) -> Bool[Array, 'B T S']:
  """For each token, its earlier occurrences."""
  tokens = jnp.asarray(tokens)
  position = jnp.arange(tokens.shape[1])
  return (tokens[:, :, None] == tokens[:, None, :]) & (position < position[:, None])


def previous_token_targets(tokens: Tokens) -> Bool[Array, 'B T S']:
  """For each token, the one before it."""
  position = jnp.arange(np.shape(tokens)[1])
  before = position == position[:, None] - 1
  return jnp.broadcast_to(before, (len(tokens), *before.shape))


def attention_to(
  pattern: Pattern, targets: Targets, queries: Bool[Array | np.ndarray, 'B T'] | None
) -> Scores:
  """Mean attention of each head on its targets, over the queries that have one.

  Args:
    pattern: `acts['pattern']`.
    targets: Where each query should attend.
    queries: The queries to count; None for all.

  Returns:
    The scores, from 0 to 1; NaN if no query has a target.
  """
  mass, count = _mass(pattern, targets, queries)
  return mass / count


def prefix_matching_score(
  pattern: Pattern,
  tokens: Tokens,
  queries: Bool[Array | np.ndarray, 'B T'] | None = None,
) -> Scores:
  """How much each head attends to what followed earlier occurrences of the token.

  Args:
    pattern: `acts['pattern']` of a run on repeated random tokens.
    tokens: Those tokens.
    queries: The queries to count: `RepeatedTokens.second_copy` is Olsson's definition.
      None for all that have a target.

  Returns:
    The scores; 1 for a perfect induction head.
  """
  return attention_to(pattern, prefix_matching_targets(tokens), queries)


def duplicate_token_score(
  pattern: Pattern,
  tokens: Tokens,
  queries: Bool[Array | np.ndarray, 'B T'] | None = None,
) -> Scores:
  """How much each head attends to earlier occurrences of the token; see above."""
  return attention_to(pattern, duplicate_token_targets(tokens), queries)


def previous_token_score(
  pattern: Pattern,
  tokens: Tokens,
  queries: Bool[Array | np.ndarray, 'B T'] | None = None,
) -> Scores:
  """How much each head attends to the token before."""
  return attention_to(pattern, previous_token_targets(tokens), queries)


def pattern_similarity(
  pattern: Pattern,
  expected: Float[Array | np.ndarray, 'B T S'] | Targets,
  measure: str = 'mul',
  exclude_bos: bool = False,
  exclude_current: bool = False,
) -> Scores:
  """How much each head's pattern is the one expected; TransformerLens's `detect_head`.

  Of each row, and then the mean over rows:

  - 'mul': the share of all attention that goes where `expected` is 1.
  - 'abs': 1 less the mean over queries of the attention that is elsewhere than
    expected, from -1 to 1. It takes any pattern, and counts queries that have no target
    against the head. (TransformerLens rounds it to three digits.)

  Args:
    pattern: `acts['pattern']`.
    expected: The pattern to look for, e.g. `prefix_matching_targets(tokens)`.
    measure: 'mul' or 'abs'.
    exclude_bos: Whether to leave out attention to the first position.
    exclude_current: Whether to leave out attention of each position to itself.

  Returns:
    The scores.

  Raises:
    ValueError: if there is no such measure.
  """
  if measure not in ('mul', 'abs'):
    raise ValueError(unknown('measure', measure, ('mul', 'abs')))
  length = pattern.shape[-1]
  counted = ~(jnp.eye(length, dtype=bool) & exclude_current)
  counted &= ~((jnp.arange(length) == 0) & exclude_bos)
  pattern, expected = jnp.asarray(pattern), jnp.asarray(expected, pattern.dtype)
  expected = expected[:, None]  # Of every head.
  if measure == 'abs':
    wrong = jnp.abs(pattern - expected) * counted
    return (1 - wrong.sum((-2, -1)) / length).mean(1)
  seen = pattern * counted
  return ((seen * expected).sum((-2, -1)) / seen.sum((-2, -1))).mean(1)


class HeadScores(NamedTuple):
  """Scores of all heads, each `[L, H]`."""

  prefix_matching: np.ndarray
  previous_token: np.ndarray
  duplicate_token: np.ndarray


def score_heads(
  model: Model, params: Any, repeats: RepeatedTokens, batch_size: int = 8
) -> HeadScores:
  """The attention scores of every head on repeated random tokens.

  Previous-token scores count all queries, the others those of the second copy.

  Args:
    model: The model.
    params: Its parameters.
    repeats: What to run it on.
    batch_size: Rows to run at once; patterns are `[L, rows, H, T, T]`.

  Returns:
    The scores.
  """
  rows, second = len(repeats.tokens), repeats.second_copy
  batches = []
  for first in range(0, rows, batch_size):
    # Rows of the last batch that were counted before are asked no queries.
    index = np.minimum(np.arange(first, first + batch_size), rows - 1)
    fresh = (np.arange(first, first + batch_size) < rows)[:, None]
    some = (repeats.tokens[index], second[index] & fresh, fresh)
    batches.append(_score_batch(model, params, *map(jnp.asarray, some)))
  totals = jax.tree.map(lambda *parts: np.sum(parts, axis=0), *batches)
  return HeadScores(*(mass / count for mass, count in totals))


def _mass(pattern, targets, queries):
  """Attention on targets, summed, `[L, H]`, and the number of queries with one."""
  targets = jnp.asarray(targets)
  if queries is not None:
    targets = targets & jnp.asarray(queries)[:, :, None]
  mass = jnp.einsum('lbhts,bts->lh', pattern, targets.astype(pattern.dtype))
  return mass, targets.any(-1).sum()


@functools.partial(jax.jit, static_argnums=0)
def _score_batch(model, params, tokens, second_copy, fresh):
  pattern = model.apply({'params': params}, tokens)[1]['pattern']
  everywhere = jnp.broadcast_to(fresh, tokens.shape)
  return (
    _mass(pattern, prefix_matching_targets(tokens), second_copy),
    _mass(pattern, previous_token_targets(tokens), everywhere),
    _mass(pattern, duplicate_token_targets(tokens), second_copy),
  )
