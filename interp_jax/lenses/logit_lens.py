"""What the residual stream says before the end: logit lens and direct attribution.

The *logit lens* (nostalgebraist 2020) unembeds the stream of every layer as if it were
the last. *Direct logit attribution* (Elhage et al. 2021) splits the final logits among
what was written to the stream, the divisor of the final norm held fixed; it is exact.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from interp_jax.core import Model
from interp_jax.lenses.protocol import Config
from interp_jax.lenses.unembed import Params, unembedding, unembedding_bias


def logit_lens(
  model: Model,
  params: Params,
  acts: Mapping[str, Any],
  logit_positions: Sequence[int] | Int[Array | np.ndarray, '*b P'] | None = None,
) -> Float[Array, 'depths B P V']:
  """The logits that each layer's residual stream would give if it were the last.

  The model's own last steps (final norm, unembedding, soft cap) are applied to the
  stream before each layer and, last, after all of them: the final logits.

  Args:
    model: A model that takes `resid`, `start` and `logit_positions`.
    params: Its parameters.
    acts: Activations of a run, with `resid_pre` and `resid_post`.
    logit_positions: Positions to unembed, `[P]` or `[B, P]`; None for all.

  Returns:
    The logits, one row for each layer's input and one for the end.
  """
  stream = jnp.concatenate([acts['resid_pre'], acts['resid_post'][-1:]])
  at = None if logit_positions is None else jnp.asarray(logit_positions)
  return _leave(model, params, stream, at)


@functools.partial(jax.jit, static_argnums=0)
def _leave(model, params, stream, logit_positions):
  def one(resid):
    end = {'resid': resid, 'start': stream.shape[0] - 1}
    if logit_positions is not None:
      end['logit_positions'] = logit_positions
    return model.apply({'params': params}, None, None, **end)[0]

  return jax.lax.map(one, stream)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LogitAttribution:
  """Logits (or one difference of two), split among what was written to the stream.

  All parts end in the same axes: `[B, P, V]`, or `[B, P]` where one answer was asked
  for. They sum to the logits before a soft cap.

  Attributes:
    embed: Of the embeddings, positions included.
    heads: Of each head, `[L, H, ...]`.
    attn_bias: Of attention's output biases, `[L, ...]`.
    mlp: Of each MLP, `[L, ...]`; of length 0 where there are none.
    bias: What the final norm's and the unembedding's biases add.
  """

  embed: Any
  heads: Any
  attn_bias: Any
  mlp: Any
  bias: Any

  @property
  def attn(self) -> jax.Array:
    """Of each attention layer, `[L, ...]`."""
    return self.heads.sum(1) + self.attn_bias

  @property
  def total(self) -> jax.Array:
    """The sum of all parts: the logits."""
    return self.embed + self.attn.sum(0) + self.mlp.sum(0) + self.bias


def direct_logit_attribution(
  params: Params,
  cfg: Config,
  acts: Mapping[str, Any],
  positions: Sequence[int] | Int[Array | np.ndarray, ' P'],
  correct: Int[Array | np.ndarray, ' B'] | None = None,
  wrong: Int[Array | np.ndarray, ' B'] | None = None,
) -> LogitAttribution:
  """Splits the logits among embeddings, heads and MLPs.

  Args:
    params: Parameters of the model.
    cfg: Its config.
    acts: Activations of a run: `resid_pre`, `z`, `attn_out`, `mlp_out`,
      `ln_final.scale` (and `ln1_post.scale`), those that the model has.
    positions: The positions at which to read the logits; negative ones count from the
      end.
    correct: One token per example, to split its logit alone. None: all tokens.
    wrong: One token per example whose logit is subtracted from that of `correct`.

  Returns:
    The parts.

  Raises:
    ValueError: if `wrong` is given without `correct`.
  """
  if wrong is not None and correct is None:
    raise ValueError('direct_logit_attribution: give `correct` with `wrong`.')
  read = ('resid_pre', 'z', 'attn_out', 'mlp_out', 'ln_final.scale', 'ln1_post.scale')
  acts = {name: acts[name] for name in read if name in acts}
  return _attribute(params, cfg, acts, jnp.asarray(positions), correct, wrong)


@functools.partial(jax.jit, static_argnums=1)
def _attribute(params, cfg, acts, at, correct, wrong):
  scale = acts['ln_final.scale'][:, at] if 'ln_final.scale' in acts else 1.0
  table, bias = unembedding(params, cfg), unembedding_bias(params, cfg)
  if correct is None:
    read = lambda x: jnp.einsum('...bpd,dv->...bpv', x / scale, table)
    constant = jnp.broadcast_to(bias, (acts['resid_pre'].shape[1], at.size, bias.size))
  else:
    answer = table.T[jnp.asarray(correct)]
    constant = bias[jnp.asarray(correct)]
    if wrong is not None:
      answer = answer - table.T[jnp.asarray(wrong)]
      constant = constant - bias[jnp.asarray(wrong)]
    read = lambda x: jnp.einsum('...bpd,bd->...bp', x / scale, answer)
    constant = jnp.broadcast_to(constant[:, None], (constant.size, at.size))
  heads = head_results(params, cfg, acts, at)
  attn_out = acts['attn_out'][:, :, at]
  no_mlp = attn_out[:0]
  return LogitAttribution(
    embed=read(acts['resid_pre'][0][:, at]),
    heads=read(heads),
    # What attention wrote that no head did: its bias, and its norm's.
    attn_bias=read(attn_out - heads.sum(1)),
    mlp=read(acts['mlp_out'][:, :, at] if 'mlp_out' in acts else no_mlp),
    bias=constant,
  )


def head_results(
  params: Params,
  cfg: Config,
  acts: Mapping[str, Any],
  positions: Sequence[int] | Int[Array | np.ndarray, ' P'],
) -> Float[Array, 'L H B P D']:
  """What each head adds to the residual stream (`result`), biases apart.

  Through the norm after attention of a sandwich model, with its divisor held fixed.

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


def output_matrices(params: Params, cfg: Config) -> Float[Array, 'L H K D']:
  """Each head's W_O, with the linear part of a norm after attention folded in."""
  blocks = params['blocks']
  writers = blocks['attn']['W_O']
  if cfg.norm_placement != 'sandwich' or cfg.norm == 'none':
    return writers
  if cfg.norm == 'layernorm':
    writers = writers - writers.mean(-1, keepdims=True)
  return writers * blocks['ln1_post']['w'][:, None, None, :]
