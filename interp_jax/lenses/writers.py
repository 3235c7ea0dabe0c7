"""What reads from the residual stream and what writes to it, norms folded in.

A norm is linear but for its divisor. Its linear part goes into the matrix before or
behind it; the divisors of a run are in `acts`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from interp_jax.lenses.protocol import Config
from interp_jax.lenses.unembed import Params, fold_norm

_BEFORE, _AFTER = ('pre', 'sandwich'), ('post', 'sandwich')


def embedding(params: Params, cfg: Config) -> Float[Array, 'V D']:
  """What each token writes to the stream: W_E, with the model's factor on it.

  A norm of the embedding (BLOOM) is not linear and is left out.
  """
  return jnp.asarray(params['embed']['W_E']) * cfg.embed_scale


def input_matrices(params: Params, cfg: Config, kind: str) -> Float[Array, 'L G D K']:
  """W_Q, W_K or W_V of all layers, with the linear part of the norm before folded in.

  Args:
    params: Parameters of the model.
    cfg: Its config.
    kind: 'Q', 'K' or 'V'.

  Returns:
    The matrices, of query heads for 'Q' and of key/value heads else.
  """
  readers = jnp.asarray(params['blocks']['attn'][f'W_{kind}'])
  if cfg.norm_placement not in _BEFORE:
    return readers
  fold = lambda norm, heads: jax.vmap(lambda w: fold_norm(norm, cfg.norm, w))(heads)
  return jax.vmap(fold)(params['blocks'].get('ln1'), readers)


def output_matrices(params: Params, cfg: Config) -> Float[Array, 'L H K D']:
  """Each head's W_O, with the linear part of a norm after attention folded in."""
  blocks = params['blocks']
  writers = jnp.asarray(blocks['attn']['W_O'])
  return _fold_after(writers, cfg, blocks.get('ln1_post'), (1, 2))


def neuron_matrices(params: Params, cfg: Config) -> Float[Array, 'L M D']:
  """W_out of all layers, with the linear part of a norm after the MLP folded in.

  Args:
    params: Parameters of the model.
    cfg: Its config.

  Returns:
    What each neuron writes.

  Raises:
    ValueError: if the model has no MLPs, or mixtures of them.
  """
  blocks = params['blocks']
  if 'mlp' not in blocks:
    raise ValueError(
      'The model has no neurons that are the same for every token: it has '
      f'{"experts" if "experts" in blocks else "no MLPs"}.'
    )
  writers = jnp.asarray(blocks['mlp']['W_out'])
  return _fold_after(writers, cfg, blocks.get('ln2_post'), (1,))


def head_results(
  params: Params,
  cfg: Config,
  acts: Mapping[str, Any],
  positions: Sequence[int] | Int[Array | np.ndarray, ' P'],
) -> Float[Array, 'L H B P D']:
  """What each head adds to the residual stream (`result`), biases apart.

  Through the norm after attention where there is one (Gemma 2, OLMo 2), with its
  divisor held fixed.

  Args:
    params: Parameters of the model.
    cfg: Its config.
    acts: Activations of a run: `z` (and `ln1_post.scale`).
    positions: The positions at which to read them.

  Returns:
    The heads' outputs.
  """
  at = jnp.asarray(positions)
  writers = output_matrices(params, cfg)
  result = jnp.einsum('lbphk,lhkd->lhbpd', acts['z'][:, :, at], writers)
  if 'ln1_post.scale' in acts:
    result = result / acts['ln1_post.scale'][:, None, :, at]
  return result


def _fold_after(
  writers: jax.Array, cfg: Config, norm: Params | None, axes: tuple[int, ...]
) -> jax.Array:
  """`writers diag(w)`, centred where the norm is a LayerNorm; axes are w's new ones."""
  if cfg.norm_placement not in _AFTER or cfg.norm == 'none' or not norm:
    return writers
  if cfg.norm == 'layernorm':
    writers = writers - writers.mean(-1, keepdims=True)
  return writers * jnp.expand_dims(norm['w'], axes)
