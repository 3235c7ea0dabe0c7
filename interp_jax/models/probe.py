"""The gradient of every head's reads at once, at the cost of one read's.

Edge attribution asks how the metric changes when the queries, keys or values of one
head read `stream + gap[s]`, for every head and every sender s. All reads being equal
where the gradient is taken, the forward pass needs one of them, and so does the
backward pass to the stream. What is asked beyond that is, for each head, its gradient
times each gap through the norm and the projection. A norm's gradient is a projection of
it divided by the scale, so sums over runs are taken in the width of a head, before the
product with the weights that takes them to the width of the stream.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from interp_jax.models import primitives


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NormGradient:
  """What the gradient through a norm is made of.

  With x the (centred) input and y = x / scale, that of `gain y` takes g to
  `(P g' - y mean(y g')) / scale`, where `g' = gain g` and P centres what is centred.

  Attributes:
    gain: The gain `[D]`.
    scale: The divisor `[B, T, 1]`.
    centred: Whether the norm subtracts the mean (LayerNorm).
    held: Whether the divisor is held fixed: then there is no second term.
  """

  gain: Any
  scale: Any
  centred: bool = dataclasses.field(metadata={'static': True})
  held: bool = dataclasses.field(metadata={'static': True})


@jax.custom_vjp
def probed_projections(
  weights: tuple[Float[Array, '_ D K'], ...],
  norm: NormGradient | None,
  stream: Float[Array, 'B T D'],
  probe: Float[Array, 'R S'],
  gap: Float[Array, 'S b T D'],
) -> Float[Array, 'B T R K']:
  """What to add to queries, keys and values so that their gradients reach the probe.

  Args:
    weights: `W_Q`, `W_K` and `W_V`; those of grouped heads serve several reads.
    norm: The norm before them; None for none.
    stream: What all of them read: rows of one run of the batch or of several, one run
      after the other.
    probe: Zeros.
    gap: What each entry of the probe stands for.

  Returns:
    Zeros, the projections of `probe @ gap`. Only the probe has a gradient.
  """
  del norm, probe, gap
  shape = (*stream.shape[:2], 3 * len(weights[0]), weights[0].shape[2])
  return jnp.zeros(shape, stream.dtype)


def _forward(
  weights: Any, norm: Any, stream: Any, probe: Any, gap: Any
) -> tuple[jax.Array, Any]:
  out = probed_projections(weights, norm, stream, probe, gap)
  return out, (weights, norm, stream, gap)


def _backward(kept: Any, grad: jax.Array) -> tuple[Any, ...]:
  weights, norm, stream, gap = kept
  every = [jnp.repeat(w, len(weights[0]) // len(w), 0) for w in weights]
  scores = _scores(jnp.concatenate(every), norm, stream, gap, grad)
  return None, None, None, scores.astype(grad.dtype), None


probed_projections.defvjp(_forward, _backward)


def _scores(
  weights: jax.Array,
  norm: NormGradient | None,
  stream: jax.Array,
  gap: jax.Array,
  grad: jax.Array,
) -> Float[Array, 'R S']:
  """Gradients `[B, T, R, K]` at projections → at the entries of the probe."""
  wide = primitives.wide(stream.dtype)
  batch = gap.shape[1]
  by_run = lambda x: x.reshape(-1, batch, *x.shape[1:])
  if norm is None:
    return _contract(by_run(grad).sum(0), weights, gap)
  weights = weights * norm.gain[:, None]
  grad = grad.astype(wide) / norm.scale[..., None]
  first = _contract(by_run(grad).sum(0), weights, gap, norm.centred)
  if norm.held:
    return first
  y = stream.astype(wide)
  if norm.centred:
    y = y - y.mean(-1, keepdims=True)
  y = y / norm.scale
  along = jnp.einsum('btd,rdk->btrk', y, weights)  # The gradient's part along y,
  along = by_run((along * grad).sum(-1) / y.shape[-1])
  inside = jnp.einsum('nbtd,sbtd->nbts', by_run(y), gap)  # and the gap's.
  return first - jnp.einsum('nbtr,nbts->rs', along, inside)


def _contract(
  grad: Float[Array, 'b T R K'],
  weights: Float[Array, 'R D K'],
  gap: Float[Array, 'S b T D'],
  centred: bool = False,
) -> Float[Array, 'R S']:
  """Gradients at projections, at the stream, times the gap."""
  reads = jnp.einsum('btrk,rdk->rbtd', grad, weights)
  if centred:
    reads = reads - reads.mean(-1, keepdims=True)
  return jnp.einsum('rbtd,sbtd->rs', reads, gap)
