"""Path expansion: an attention-only model's logits, as a sum over paths through heads.

Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits". With its
patterns and the divisors of its norms held as they were in a run, a model without MLPs
is linear in what the embedding wrote. Every path from a token to the logits, past some
heads of rising layers, is then one term, and their sum is exact.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from interp_jax.lenses.attribution import Answers, answers, final_scale
from interp_jax.lenses.circuits import Head, ov_circuits
from interp_jax.lenses.protocol import Config
from interp_jax.lenses.unembed import Params, unembedding, unembedding_bias


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PathExpansion:
  """Logits (or one difference of two), split among the paths to them.

  Attributes:
    logits: Of each path, `[N, B, P, V]`, or `[N, B, P]` where one answer was asked for.
    bias: What all biases add, by whatever path, `[B, P, V]` or `[B, P]`.
    paths: Layer and head of each head that a path goes through, in the order of their
      layers; the direct path, `()`, comes first.
  """

  logits: Any
  bias: Any
  paths: tuple[tuple[Head, ...], ...] = dataclasses.field(metadata={'static': True})

  @property
  def total(self) -> jax.Array:
    """The sum of all paths and biases: the logits."""
    return self.logits.sum(0) + self.bias

  @property
  def by_length(self) -> jax.Array:
    """The sums over paths through 0, 1, 2 ... heads, `[L + 1, ...]`."""
    lengths = np.array([len(path) for path in self.paths])
    among = lengths == np.arange(lengths.max() + 1)[:, None]
    return jnp.einsum('ln,n...->l...', among.astype(self.logits.dtype), self.logits)

  def path(self, *heads: Head) -> jax.Array:
    """What one path adds; no head for the direct one.

    Raises:
      ValueError: if there is no such path.
    """
    if heads not in self.paths:
      raise ValueError(
        f'There is no path through {list(heads)}; give (layer, head) of existing '
        'heads, each in a later layer than the one before.'
      )
    return self.logits[self.paths.index(heads)]


def path_expansion(
  params: Params,
  cfg: Config,
  acts: Mapping[str, Any],
  positions: Sequence[int] | Int[Array | np.ndarray, ' P'],
  correct: Answers | None = None,
  wrong: Answers | None = None,
) -> PathExpansion:
  """Splits the logits of an attention-only model among all paths through its heads.

  There are `(1 + H) ** L` paths. They sum to the logits before a soft cap.

  Args:
    params: Parameters of the model.
    cfg: Its config.
    acts: Activations of a run: `resid_pre`, `pattern`, and `ln1.scale`,
      `ln1_post.scale` and `ln_final.scale` where the model has them.
    positions: The positions at which to read the logits; negative ones count from the
      end.
    correct: One token per example, to split its logit alone. None: all tokens.
    wrong: One token per example whose logit is subtracted from that of `correct`.

  Returns:
    The paths and what each adds.

  Raises:
    ValueError: if the model has MLPs, norms its residual stream itself
      (norm_placement 'residual'), or `wrong` is given without `correct`.
  """
  if {'mlp', 'experts'} & set(params['blocks']):
    raise ValueError(
      'path_expansion: the model has MLPs, which no sum of paths can pass through; '
      'use direct_logit_attribution.'
    )
  if cfg.norm_placement == 'residual':
    raise ValueError(
      "path_expansion: norm_placement='residual' norms the stream itself, so it is no "
      'sum of what was written to it.'
    )
  if wrong is not None and correct is None:
    raise ValueError('path_expansion: give `correct` with `wrong`.')
  layers, _, heads = acts['pattern'].shape[:3]
  paths: list[tuple[Head, ...]] = [()]
  for layer in range(layers):
    paths += [(*path, (layer, head)) for path in paths for head in range(heads)]
  read = ('pattern', 'ln1.scale', 'ln1_post.scale', 'ln_final.scale')
  held = {name: acts[name] for name in read if name in acts}
  embed = acts['resid_pre'][0]
  at = jnp.asarray(positions)
  logits, bias = _expand(params, cfg, embed, held, at, correct, wrong)
  return PathExpansion(logits, bias, tuple(paths))


@functools.partial(jax.jit, static_argnums=1)
def _expand(params, cfg, embed, held, at, correct, wrong):
  """The logits of all paths, in the order of `path_expansion`, and of the biases."""
  ov = ov_circuits(params, cfg)
  streams = embed[None]
  constant = jnp.zeros_like(embed)
  for layer in range(ov.shape[0]):
    pass_on = functools.partial(_heads, ov[layer], held, layer)
    added = _attention_biases(params, cfg, held, layer)
    constant = constant + pass_on(constant[None])[0].sum(0) + added
    further = pass_on(streams)
    streams = jnp.concatenate([streams, further.reshape(-1, *embed.shape)])
  scale = final_scale(held, at)
  every = jnp.concatenate([streams, constant[None]])[:, :, at] / scale
  if correct is None:
    out = jnp.einsum('nbpd,dv->nbpv', every, unembedding(params, cfg))
    last = unembedding_bias(params, cfg)
  else:
    answer, last = answers(params, cfg, correct, wrong)
    out, last = jnp.einsum('nbpd,bd->nbp', every, answer), last[:, None]
  return out[:-1], out[-1] + last


def _heads(
  ov: Any, held: Mapping[str, Any], layer: int, streams: Float[Array, 'N B T D']
) -> Float[Array, 'N H B T D']:
  """What each head of a layer makes of each stream, biases apart."""
  if 'ln1.scale' in held:
    streams = streams / held['ln1.scale'][layer]
  values = jnp.einsum('nbsd,hdk->nhbsk', streams, ov.A)
  mixed = jnp.einsum('bhts,nhbsk->nhbtk', held['pattern'][layer], values)
  out = jnp.einsum('nhbtk,hkd->nhbtd', mixed, ov.B)
  return out / held['ln1_post.scale'][layer] if 'ln1_post.scale' in held else out


def _attention_biases(
  params: Params, cfg: Config, held: Mapping[str, Any], layer: int
) -> Float[Array, 'B T D']:
  """What a layer of attention adds to a stream of zeros."""
  blocks = jax.tree.map(lambda leaf: leaf[layer], params['blocks'])
  attn, pattern = blocks['attn'], held['pattern'][layer]
  heads = pattern.shape[1]
  values = jnp.zeros(attn['W_V'].shape[::2], pattern.dtype)
  if cfg.norm_placement != 'post' and 'b' in blocks.get('ln1', {}):
    values = values + jnp.einsum('d,gdk->gk', blocks['ln1']['b'], attn['W_V'])
  values = values + attn.get('b_V', 0)
  values = jnp.repeat(values, heads // len(values), 0)
  # Rows of a pattern sum to 1, but for those of padding that sees nothing.
  out = jnp.einsum('bhts,hk,hkd->btd', pattern, values, attn['W_O'])
  out = out + attn.get('b_O', 0)
  if 'ln1_post.scale' in held:
    if cfg.norm == 'layernorm':
      out = out - out.mean(-1, keepdims=True)
    norm = blocks['ln1_post']
    out = out / held['ln1_post.scale'][layer] * norm['w'] + norm.get('b', 0)
  return out
