"""Direct logit attribution of what is small: neurons, and features of a dictionary.

There are far too many of them to write each to the stream and unembed it. Instead the
answer's direction is carried back to where they live, once for each example; what a
neuron or a feature adds to the answer is then its activation times one number.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from interp_jax.core import unknown
from interp_jax.lenses.attribution import Answers, answers, final_scale
from interp_jax.lenses.protocol import Config
from interp_jax.lenses.unembed import Params
from interp_jax.lenses.writers import neuron_matrices, output_matrices

Positions = Sequence[int] | Int[Array | np.ndarray, ' P']

_STREAM = ('embed', 'resid_pre', 'resid_mid', 'resid_post', 'attn_out', 'mlp_out')
SITES = (*_STREAM, 'z', 'post')
"""Where a dictionary may stand: what is written to the stream, and what writes it."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NeuronAttribution:
  """What every neuron adds to a logit, or a difference of two.

  Attributes:
    neurons: Of each neuron, `[L, B, P, M]`.
    bias: Of what else the MLPs wrote (their biases, and those of norms behind them),
      `[L, B, P]`.
  """

  neurons: Any
  bias: Any

  @property
  def total(self) -> jax.Array:
    """Of each MLP, `[L, B, P]`: the row `mlp` of `LogitAttribution`."""
    return self.neurons.sum(-1) + self.bias


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FeatureAttribution:
  """What an activation adds to a logit directly, split among a dictionary's features.

  Attributes:
    features: Of each feature, `[B, P, F]`.
    bias: Of the decoder's bias, `[B, P]`.
    error: Of what the dictionary leaves out of the activation, `[B, P]`.
  """

  features: Any
  bias: Any
  error: Any

  @property
  def total(self) -> jax.Array:
    """Of the whole activation, `[B, P]`."""
    return self.features.sum(-1) + self.bias + self.error


def neuron_attribution(
  params: Params,
  cfg: Config,
  acts: Mapping[str, Any],
  positions: Positions,
  correct: Answers,
  wrong: Answers | None = None,
) -> NeuronAttribution:
  """Splits what each MLP adds to an answer's logit among its neurons; exactly.

  Args:
    params: Parameters of the model.
    cfg: Its config.
    acts: Activations of a run: `post`, `mlp_out`, `ln_final.scale` (and
      `ln2_post.scale`), those that the model has.
    positions: The positions at which to read the logits.
    correct: One token per example.
    wrong: One per example whose logit is subtracted; None for none.

  Returns:
    The parts.

  Raises:
    ValueError: if the model has no MLPs, or mixtures of them.
  """
  kept = _pick(acts, 'post', 'mlp_out', 'ln_final.scale', 'ln2_post.scale')
  return _neurons(params, cfg, kept, jnp.asarray(positions), correct, wrong)


@functools.partial(jax.jit, static_argnums=1)
def _neurons(params, cfg, acts, at, correct, wrong):
  answer, _ = answers(params, cfg, correct, wrong)
  scale = final_scale(acts, at)
  slopes = jnp.einsum('lmd,bd->lbm', neuron_matrices(params, cfg), answer)
  neurons = acts['post'][:, :, at] * slopes[:, :, None] / scale
  if 'ln2_post.scale' in acts:
    neurons = neurons / acts['ln2_post.scale'][:, :, at]
  whole = jnp.einsum('lbpd,bd->lbp', acts['mlp_out'][:, :, at] / scale, answer)
  return NeuronAttribution(neurons, whole - neurons.sum(-1))


def feature_attribution(
  params: Params,
  cfg: Config,
  acts: Mapping[str, Any],
  site: str,
  layer: int,
  codes: Float[Array | np.ndarray, 'B P F'],
  W_dec: Float[Array | np.ndarray, 'F X'],
  positions: Positions,
  correct: Answers,
  wrong: Answers | None = None,
  b_dec: Float[Array | np.ndarray, ' X'] | None = None,
) -> FeatureAttribution:
  """Splits what an activation adds to an answer's logit among features; exactly.

  The effect is the direct one, past all later layers. A dictionary may stand at a
  stream or at what is written to it, and at `z` (heads side by side, `X = H K`) or
  `post`, whose features are carried on by W_O or W_out. Any dictionary will do, also
  one that decodes for another layer than it reads: give the codes and the rows that
  write here.

  Args:
    params: Parameters of the model.
    cfg: Its config.
    acts: Activations of the run: `site`, `ln_final.scale`, and `ln1_post.scale` or
      `ln2_post.scale` for 'z' or 'post' in a model that has it.
    site: What the dictionary reconstructs, one of `features.SITES`.
    layer: Its layer; 0 for 'embed'.
    codes: Activations of the features at the positions.
    W_dec: The decoder's rows, for activations in the model's own units.
    positions: The positions at which to read the logits.
    correct: One token per example.
    wrong: One per example whose logit is subtracted; None for none.
    b_dec: The decoder's bias; None for none.

  Returns:
    The parts.

  Raises:
    ValueError: if a dictionary cannot stand at the site, or shapes do not fit.
  """
  if site not in SITES:
    raise ValueError(unknown('site of a dictionary', site, SITES))
  kept = _pick(acts, site, 'ln_final.scale', 'ln1_post.scale', 'ln2_post.scale')
  at, rows = jnp.asarray(positions), jnp.asarray(W_dec)
  width = int(np.prod(acts[site].shape[3 if site != 'embed' else 2 :]))
  if codes.shape[1:] != (at.size, len(rows)) or rows.shape[1] != width:
    raise ValueError(
      f'feature_attribution: codes are {codes.shape} and W_dec {rows.shape}; at '
      f'{at.size} positions of {site!r} give [B, {at.size}, F] and [F, {width}].'
    )
  bias = jnp.zeros(width, rows.dtype) if b_dec is None else jnp.asarray(b_dec)
  dictionary = (jnp.asarray(codes), rows, bias)
  return _features(params, cfg, kept, site, layer, dictionary, at, correct, wrong)


@functools.partial(jax.jit, static_argnums=(1, 3))
def _features(params, cfg, acts, site, layer, dictionary, at, correct, wrong):
  codes, rows, b_dec = dictionary
  answer, _ = answers(params, cfg, correct, wrong)
  slopes, scale = _carried_back(params, cfg, acts, site, layer, answer, at)
  read = lambda x: jnp.einsum('bpx,bx->bp', x, slopes) / scale
  act = acts[site] if site == 'embed' else acts[site][layer]
  act = act[:, at].reshape(*act[:, at].shape[:2], -1)
  features = codes * (slopes @ rows.T)[:, None] / scale[..., None]
  bias = (slopes @ b_dec)[:, None] / scale
  error = read(act) - features.sum(-1) - bias
  return FeatureAttribution(features, bias, error)


def _carried_back(params, cfg, acts, site, layer, answer, at):
  """What the answer reads at a site, `[B, X]`, and the divisor on the way, `[B, P]`."""
  scale = jnp.broadcast_to(final_scale(acts, at), (len(answer), at.size, 1))
  writers = {'z': (output_matrices, 'ln1_post'), 'post': (neuron_matrices, 'ln2_post')}
  if site in writers:
    matrices, norm = writers[site]
    matrix = matrices(params, cfg)[layer]
    answer = answer @ matrix.reshape(-1, matrix.shape[-1]).T
    if f'{norm}.scale' in acts:
      scale = scale * acts[f'{norm}.scale'][layer][:, at]
  return answer, scale[..., 0]


def _pick(acts: Mapping[str, Any], *names: str) -> dict[str, Any]:
  return {name: acts[name] for name in names if name in acts}
