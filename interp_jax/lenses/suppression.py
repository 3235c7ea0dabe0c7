"""Copy suppression: heads that lower what is about to be said if it was said before.

McDougall et al. 2023, "Copy Suppression: Comprehensively Understanding an Attention
Head". Such a head attends to earlier occurrences of the token that the model is about
to predict, and lowers that token's logit. Both halves can be read off the weights.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from interp_jax import edits
from interp_jax.core import Model
from interp_jax.lenses.circuits import ov_circuits, qk_circuits
from interp_jax.lenses.protocol import Config
from interp_jax.lenses.unembed import Params, unembedding

TokenIds = Int[Array | np.ndarray, ' N']

# Tokens to take at a time: `[H, rows, V]` are in memory.
_ROWS = 64


class CopySuppression(NamedTuple):
  """Of how many tokens each head suppresses copies, as fractions `[L, H]`.

  A head suppresses copies if both are high.

  Attributes:
    ov: Tokens whose own logit is among the k that attending to them lowers most; of a
      random head `k / V`.
    qk: Tokens that are among the k most attended to, of all those given, when the
      stream of the query points at the same token's logit; of a random head `k / N`.
  """

  ov: Float[Array, 'L H']
  qk: Float[Array, 'L H']


def effective_embedding(
  model: Model, params: Params, tokens: TokenIds
) -> Float[Array, 'N D']:
  """What later layers know a token by: the stream behind layer 0 of the token alone.

  The token attends to itself only, and learned positions are set to zero.

  Args:
    model: The model.
    params: Its parameters.
    tokens: The tokens.

  Returns:
    A row for each.
  """
  return _alone(model, params, jnp.asarray(tokens))


@functools.partial(jax.jit, static_argnums=0)
def _alone(model, params, tokens):
  todo = {'pos_embed': edits.Replace(0.0)} if 'pos_embed' in params else {}

  def one(token):
    acts = model.apply({'params': params}, token[None, None], todo)[1]
    return acts['resid_post'][0, 0, 0]

  return jax.lax.map(one, tokens, batch_size=_ROWS)


def copy_suppression_scores(
  params: Params,
  cfg: Config,
  tokens: TokenIds,
  embeddings: Float[Array | np.ndarray, 'N D'],
  k: int = 10,
) -> CopySuppression:
  """How far each head's weights are those of a head that suppresses copies.

  Left out are biases, and how the product of query and key changes with their distance
  (rotary). Heads of layer 0 do not see effective embeddings, and their scores mean
  nothing where those are given.

  Args:
    params: Parameters of the model.
    cfg: Its config.
    tokens: The tokens to look at: all, or some hundreds.
    embeddings: What the heads know them by: `effective_embedding`, or rows of W_E.
    k: How near to the extreme a token must be.

  Returns:
    The scores.

  Raises:
    ValueError: if k is not within 1 and the number of tokens.
  """
  if not 1 <= k <= len(tokens):
    raise ValueError(f'k is {k}; give 1 to {len(tokens)}, the number of tokens.')
  return _score(params, cfg, jnp.asarray(tokens), jnp.asarray(embeddings), k)


@functools.partial(jax.jit, static_argnums=(1, 4))
def _score(params: Any, cfg: Any, tokens: Any, embeddings: Any, k: int) -> Any:
  table = unembedding(params, cfg)
  keys = _normed(embeddings, cfg.norm)
  xs = (tokens, jnp.arange(tokens.size), embeddings, table.T[tokens])

  def of_layer(circuits):
    qk, ov = circuits
    written, looked_up = ov.B @ table, qk.B @ keys.T  # [H, K, V] and [H, K, N]

    def of_token(x):
      token, index, source, target = x
      effect = jnp.einsum('hk,hkv->hv', source @ ov.A, written)
      score = jnp.einsum('hk,hkn->hn', target @ qk.A, looked_up)
      lower = (effect < effect[:, token, None]).sum(-1)
      higher = (score > score[:, index, None]).sum(-1)
      return lower < k, higher < k

    hits = jax.lax.map(of_token, xs, batch_size=_ROWS)
    return CopySuppression(*(hit.mean(0) for hit in hits))

  return jax.lax.map(of_layer, (qk_circuits(params, cfg), ov_circuits(params, cfg)))


def _normed(x: Float[Array, 'N D'], kind: str) -> Float[Array, 'N D']:
  """Divided as the norm does; its linear part is the circuit's."""
  if kind == 'none':
    return x
  centred = x - x.mean(-1, keepdims=True) if kind == 'layernorm' else x
  return x / jnp.sqrt(jnp.square(centred).mean(-1, keepdims=True))
