"""Direct logit attribution: the final logits, split among what wrote to the stream.

Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits". The divisor of
the final norm is that of the run, held fixed, and so the split is exact.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from interp_jax.lenses.protocol import Config
from interp_jax.lenses.unembed import Params, unembedding, unembedding_bias
from interp_jax.lenses.writers import head_results

Answers = Int[Array | np.ndarray, ' B']


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
  correct: Answers | None = None,
  wrong: Answers | None = None,
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
  scale = final_scale(acts, at)
  if correct is None:
    table, bias = unembedding(params, cfg), unembedding_bias(params, cfg)
    read = lambda x: jnp.einsum('...bpd,dv->...bpv', x / scale, table)
    constant = jnp.broadcast_to(bias, (acts['resid_pre'].shape[1], at.size, bias.size))
  else:
    answer, constant = answers(params, cfg, correct, wrong)
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


def answers(
  params: Params, cfg: Config, correct: Answers, wrong: Answers | None
) -> tuple[Float[Array, 'B D'], Float[Array, ' B']]:
  """The direction of the stream that each answer reads, and what is added to it.

  Args:
    params: Parameters of the model.
    cfg: Its config.
    correct: One token per example.
    wrong: One per example to subtract; None for none.

  Returns:
    Directions, norm folded in, and constants.
  """
  table, bias = unembedding(params, cfg).T, unembedding_bias(params, cfg)
  pick = lambda tokens: (table[jnp.asarray(tokens)], bias[jnp.asarray(tokens)])
  if wrong is None:
    return pick(correct)
  return jax.tree.map(jnp.subtract, pick(correct), pick(wrong))


def final_scale(acts: Mapping[str, Any], at: Any) -> Any:
  """The divisor of the final norm at some positions, `[B, P, 1]`; 1 without one."""
  return acts['ln_final.scale'][:, at] if 'ln_final.scale' in acts else 1.0
