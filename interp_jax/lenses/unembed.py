"""The linear part of the way out: final norm with its divisor taken out, unembedding.

`logits = linear(x) / scale + bias`, before a soft cap, where `scale` is the divisor of
the final norm. What a direction of the residual stream says about tokens is `linear`
of it.
"""

from collections.abc import Mapping
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from interp_jax.lenses.protocol import Config

Params = Mapping[str, Any]


def unembedding(params: Params, cfg: Config) -> Float[Array, 'D V']:
  """The unembedding with the final norm's linear part folded in.

  Centring (of a LayerNorm) and the norm's weight act on the rows: `x @ unembedding` is
  what a direction `x` of the residual stream adds to the logits, times the divisor.

  Args:
    params: Parameters of the model.
    cfg: Its config.

  Returns:
    The folded matrix.
  """
  table = _table(params, cfg)
  if not cfg.final_norm:
    return table
  kind = 'rmsnorm' if cfg.final_rms else cfg.norm
  return fold_norm(params.get('ln_final'), kind, table)


def unembedding_bias(params: Params, cfg: Config) -> Float[Array, ' V']:
  """What is added to the logits whatever the stream: the norm's bias and b_U."""
  table = _table(params, cfg)
  bias = jnp.zeros(table.shape[1], table.dtype)
  if cfg.final_norm and 'b' in (params.get('ln_final') or {}):
    bias = bias + params['ln_final']['b'] @ table
  return bias + params.get('unembed', {}).get('b_U', 0)


def fold_norm(
  norm: Params | None, kind: str, reader: Float[Array, 'D X']
) -> Float[Array, 'D X']:
  """A matrix that reads through a norm, with the norm's linear part folded in.

  Args:
    norm: The norm's parameters, `w` (and `b`); None where the norm has none.
    kind: 'layernorm', 'rmsnorm' or 'none'.
    reader: The matrix that reads what the norm gives.

  Returns:
    `C diag(w) reader`, C the centring of a LayerNorm.
  """
  if kind == 'none' or not norm:
    return reader
  folded = norm['w'][:, None] * reader
  return folded - folded.mean(0) if kind == 'layernorm' else folded


def _table(params: Params, cfg: Config) -> Float[Array, 'D V']:
  return jnp.asarray(params['embed']['W_E'].T if cfg.tied else params['unembed']['W_U'])


def tokens_promoted(
  direction: Float[Array | np.ndarray, '*b D'], params: Params, cfg: Config, k: int = 10
) -> tuple[Int[Array, '*b k'], Float[Array, '*b k']]:
  """The tokens whose logits a direction of the residual stream raises most.

  Args:
    direction: Directions, e.g. rows of a dictionary's decoder. Give `-direction` for
      the tokens that are pushed down.
    params: Parameters of the model.
    cfg: Its config.
    k: How many tokens.

  Returns:
    The tokens' ids, best first, and what one unit of the direction adds to their
    logits, times the divisor of the final norm; the mean over all tokens, which no
    probability sees, is taken off.

  Raises:
    ValueError: if the direction has not the width of the model, or k is out of range.
  """
  vocab, width = params['embed']['W_E'].shape
  if np.shape(direction)[-1:] != (width,) or not 1 <= k <= vocab:
    raise ValueError(
      f'tokens_promoted: direction has shape {np.shape(direction)} and k is {k}; give '
      f'[..., {width}] and 1 to {vocab}.'
    )
  return _promoted(direction, params, cfg, k)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _promoted(direction, params, cfg, k):
  table = unembedding(params, cfg)
  effect = jnp.asarray(direction, table.dtype) @ table
  values, ids = jax.lax.top_k(effect - effect.mean(-1, keepdims=True), k)
  return ids, values
