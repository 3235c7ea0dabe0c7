"""Metrics: what a run of the model is judged by.

A metric is a function `(logits [B, P, V], acts) -> number, or array`, P being the
positions that were asked for through `logit_positions`. Those made here read the last
of them. They are pytrees (`jax.tree_util.Partial`), so that a second sweep with other
answers of the same shape compiles nothing anew; any function will do.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, Shaped
import numpy as np

Metric = Callable[[Float[Array, 'B P V'], Mapping[str, Any]], Array]
Answers = Int[Array | np.ndarray, 'B'] | Sequence[int]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TokenMetric:
  """A metric of the logits of a few tokens: nothing else need be unembedded.

  Attributes:
    tokens: The tokens of each example that it reads, `[B, C]`.
    weights: The weight of each token's logit, `[C]`.
    per_example: Whether to return one number per example `[B]` instead of the mean.
  """

  tokens: Any
  weights: Any
  per_example: bool = dataclasses.field(default=False, metadata={'static': True})

  def __call__(self, logits: Float[Array, 'B P V'], acts: Mapping[str, Any]) -> Array:
    """The weighted sum at the last position."""
    last = jnp.take_along_axis(logits[:, -1], self.tokens, axis=-1)
    return self.of_tokens(last[:, None], acts)

  def of_tokens(self, logits: Float[Array, 'B P C'], acts: Mapping[str, Any]) -> Array:
    """The same, from the logits of the tokens alone."""
    del acts
    each = (logits[:, -1] * jnp.asarray(self.weights, logits.dtype)).sum(-1)
    return each if self.per_example else each.mean()


def logit_difference(
  correct: Answers, wrong: Answers, per_example: bool = False
) -> TokenMetric:
  """Logit of the right answer minus that of the wrong one, at the last position.

  Args:
    correct: The right answer of each example.
    wrong: The wrong answer of each example.
    per_example: Whether to return one number per example `[B]` instead of the mean.

  Returns:
    The metric.
  """
  tokens = jnp.stack([jnp.asarray(correct), jnp.asarray(wrong)], -1)
  return TokenMetric(tokens, np.array([1.0, -1.0], np.float32), per_example)


def log_probability(answers: Answers, per_example: bool = False) -> Metric:
  """Log-probability (nats) of the answer at the last position.

  Args:
    answers: The answer of each example.
    per_example: Whether to return one number per example `[B]` instead of the mean.

  Returns:
    The metric.
  """
  metric = Partial(_log_probability, jnp.asarray(answers))
  return metric if per_example else Partial(_mean, metric)


def kl_to(
  reference: Float[Array | np.ndarray, 'B P V'], per_example: bool = False
) -> Metric:
  """KL divergence (nats) from the reference run to this one, mean over positions.

  `KL(reference || run)`: zero when the run predicts what the reference predicted.

  Args:
    reference: The logits of the reference run at the same positions.
    per_example: Whether to return one number per example `[B]` instead of the mean.

  Returns:
    The metric.
  """
  metric = Partial(_kl, jax.nn.log_softmax(jnp.asarray(reference)))
  return metric if per_example else Partial(_mean, metric)


def squared_error_to(
  reference: Float[Array | np.ndarray, 'B P V'], per_example: bool = False
) -> Metric:
  """Squared distance of the logits from the reference run's, mean over positions.

  For models whose logits are numbers, not log-odds: a softmax over one logit is 1.

  Args:
    reference: The logits of the reference run at the same positions.
    per_example: Whether to return one number per example `[B]` instead of the mean.

  Returns:
    The metric.
  """
  metric = Partial(_squared_error, jnp.asarray(reference))
  return metric if per_example else Partial(_mean, metric)


def next_token_losses(tokens: Int[Array | np.ndarray, 'B T']) -> Metric:
  """Cross-entropy (nats) `[B, T-1]` of every next token; needs the logits of all.

  Args:
    tokens: The tokens that the model reads.

  Returns:
    The metric; entry `t` is the loss at predicting token `t + 1`.
  """
  return Partial(_next_token_losses, jnp.asarray(tokens))


def region_losses(
  tokens: Int[Array | np.ndarray, 'B T'], regions: Shaped[Array | np.ndarray, 'R B T-1']
) -> Metric:
  """Mean cross-entropy (nats) `[R]` over regions of the text.

  Args:
    tokens: The tokens that the model reads.
    regions: The weight of each predicted token in each region's mean.

  Returns:
    The metric.

  Raises:
    ValueError: if a region is empty.
  """
  weights = np.asarray(regions, np.float32)
  totals = weights.sum((1, 2), keepdims=True)
  if not (totals > 0).all():
    raise ValueError(
      f'region_losses: region {int(np.argmin(totals))} of {len(weights)} has no token. '
      'Give every region at least one position.'
    )
  return Partial(_region_losses, jnp.asarray(tokens), jnp.asarray(weights / totals))


def _mean(metric, logits, acts):
  return metric(logits, acts).mean()


def _at_last(logits, answers):
  return jnp.take_along_axis(logits[:, -1], answers[:, None], axis=-1)[:, 0]


def _log_probability(answers, logits, acts):
  del acts
  last = logits[:, -1].astype(jnp.float32)
  return _at_last(last[:, None], answers) - jax.nn.logsumexp(last, axis=-1)


def _kl(reference, logits, acts):
  del acts
  ours = jax.nn.log_softmax(logits)
  return (jnp.exp(reference) * (reference - ours)).sum(-1).mean(-1)


def _squared_error(reference, logits, acts):
  del acts
  return jnp.square(logits - reference).sum(-1).mean(-1)


def _next_token_losses(tokens, logits, acts):
  del acts
  logits = logits[:, :-1].astype(jnp.float32)
  answers = jnp.take_along_axis(logits, tokens[:, 1:, None], axis=-1)[..., 0]
  return jax.nn.logsumexp(logits, axis=-1) - answers


def _region_losses(tokens, weights, logits, acts):
  losses = _next_token_losses(tokens, logits, acts)
  return jnp.einsum('bt,rbt->r', losses, weights)
