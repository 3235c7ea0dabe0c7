"""Next-token loss, given any function from params and tokens to logits.

Losses are in nats per token. The model is not named here: whatever maps tokens
`[B, T]` to logits `[B, T, V]` can be trained.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Integer
import numpy as np

from interp_jax.sharding import shard_batch
from interp_jax.training.step import LossFn

LogitsFn = Callable[[Any, Any], Any]
"""`(params, tokens [B, T]) -> logits [B, T, V]`."""


def next_token_losses(
  logits: Float[Array, 'B T V'], tokens: Integer[Array, 'B T']
) -> Float[Array, 'B T-1']:
  """Cross-entropy in nats of each token given those before it.

  Entry `[b, t]` is the loss of predicting `tokens[b, t + 1]` at position `t`. It is
  computed in float32 whatever the dtype of the logits.

  Args:
    logits: unnormalised log-probabilities.
    tokens: the tokens that the logits were computed from.
  """
  logits = logits[:, :-1].astype(jnp.promote_types(logits.dtype, jnp.float32))
  targets = tokens[:, 1:].astype(jnp.int32)
  chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
  return jax.nn.logsumexp(logits, axis=-1) - chosen


def make_loss(logits_fn: LogitsFn) -> LossFn:
  """The mean next-token loss of a batch of tokens `[B, T]`, as a training loss."""

  def loss_fn(params: Any, tokens: Integer[Array, 'B T']) -> tuple[Any, dict[str, Any]]:
    tokens = tokens.astype(jnp.int32)
    return next_token_losses(logits_fn(params, tokens), tokens).mean(), {}

  return loss_fn


def make_evaluation(
  logits_fn: LogitsFn,
  rows: Integer[np.ndarray, 'rows T'],
  batch_size: int,
  mesh: Mesh | None = None,
) -> Callable[[Any], dict[str, float]]:
  """A function from params to the held-out loss over all `rows`.

  The result has `held_out_loss` (nats per token), and `early_loss` and `late_loss`:
  its means over the first and the last quarter of the positions. Their difference
  says how much the model makes of its context.

  Args:
    logits_fn: the model.
    rows: held-out tokens. The last ones, short of a batch, are left out.
    batch_size: rows to evaluate at a time, over all processes.
    mesh: devices to run on. Without one, JAX's default device.

  Raises:
    ValueError: if there is not one batch of rows.
  """
  count = len(rows) // batch_size
  if count == 0:
    raise ValueError(
      f'{len(rows)} held-out rows do not fill a batch of {batch_size}. Give a batch'
      f' size of at most {len(rows)}.'
    )

  @jax.jit
  def by_position(params: Any, tokens: Any) -> Any:
    return next_token_losses(logits_fn(params, tokens), tokens).mean(axis=0)

  def evaluate(params: Any) -> dict[str, float]:
    chunks = rows[: count * batch_size].astype(np.int32)
    chunks = chunks.reshape(count, batch_size, rows.shape[1])
    if mesh is not None:
      chunks = (shard_batch(mesh, chunk, whole=True) for chunk in chunks)
    means = [by_position(params, tokens) for tokens in chunks]
    losses = np.stack(jax.device_get(means)).mean(axis=0, dtype=np.float64)
    quarter = max(1, len(losses) // 4)
    return {
      'held_out_loss': float(losses.mean()),
      'early_loss': float(losses[:quarter].mean()),
      'late_loss': float(losses[-quarter:].mean()),
    }

  return evaluate
