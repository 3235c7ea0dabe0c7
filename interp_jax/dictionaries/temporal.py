"""Temporal autoencoders: what attention predicts of an activation, and what is new.

Each activation of a sequence is taken apart in two (Lubana et al. 2025, 2511.01836).
Attention over the codes of earlier positions predicts codes for this one; what the
prediction leaves is encoded sparsely. With E the encoder, `D = W_dec` and `c = 1 / 4D`
(D the width), for each attention layer in turn, on a residual r that begins as
`x - b_dec`:

    z = max(c r E, 0)                p = max(attention(z of earlier positions), 0)
    a = (p D).r / (|p D| + 1e-6)^2   predicted += a p      r -= a p D

and then `novel = topk(max(c r E, 0))`, `output = (predicted + novel) D + b_dec`.

Nothing here trains them; SAELens's are read and written by `formats.sae_lens`.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from interp_jax.core import unknown
from interp_jax.dictionaries import kernels
from interp_jax.dictionaries.normalize import NORMALIZATIONS, Normalized, normalized
from interp_jax.edits import register_callable

X = Float[Array | np.ndarray, '*batch T D']
_EPS = 1e-6


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TemporalAutoencoder:
  """A dictionary of sequences, called and spliced as others are.

  Attributes:
    params: `W_dec [F, D]`, `b_dec [D]`, where the encoder is not the decoder's
      transpose `W_enc [D, F]`, and `attention`, a list of layers: matrices `W_Q` and
      `W_K` `[F, N]`, `W_V` and `W_O` `[F, F]`, and their biases `b_Q`, ...
    heads: How many heads attention has.
    k: How many novel codes a position has; None for all that are positive.
    subtract_b_dec: Whether `b_dec` is subtracted from inputs.
    normalize: As in `DictionaryConfig`.
    input_scale: What inputs are multiplied by, and outputs divided.
  """

  params: Any
  heads: int = dataclasses.field(default=8, metadata={'static': True})
  k: int | None = dataclasses.field(default=None, metadata={'static': True})
  subtract_b_dec: bool = dataclasses.field(default=True, metadata={'static': True})
  normalize: str = dataclasses.field(default='none', metadata={'static': True})
  input_scale: float = dataclasses.field(default=1.0, metadata={'static': True})

  def __post_init__(self) -> None:
    if self.normalize not in NORMALIZATIONS:
      raise ValueError(unknown('normalize', self.normalize, NORMALIZATIONS))

  def encode(self, x: X) -> Float[Array, '*batch T F']:
    """The novel codes, which are the features: sparse where there is a k.

    Args:
      x: Activations of whole sequences: a position reads those before it.

    Raises:
      ValueError: if the width is not the decoder's.
    """
    return self._codes(self._rows(x).rows)[0]

  def predicted(self, x: X) -> Float[Array, '*batch T F']:
    """The codes that attention predicts from earlier positions; see `encode`."""
    return self._codes(self._rows(x).rows)[1]

  def decode(
    self, codes: Float[Array | np.ndarray, '*batch F'], like: Any = None
  ) -> Float[Array, '*batch D']:
    """What codes, novel or predicted or their sum, are in the model's units.

    Args:
      codes: The codes.
      like: The activations, needed where they are normalized one by one.

    Raises:
      ValueError: if they are needed and missing.
    """
    if self.normalize != 'none' and like is None:
      raise ValueError(
        f'decode: the dictionary normalizes its inputs ({self.normalize}), and the '
        'output is in their units. Pass them: decode(codes, like=x).'
      )
    out = jnp.asarray(codes) @ self._arrays['W_dec'] + self._arrays['b_dec']
    out = out if like is None else self._rows(like).restore(out)
    return out / self.input_scale

  def __call__(self, x: X) -> Float[Array, '*batch T D']:
    """The output: predicted and novel codes, decoded."""
    novel, predicted = self._codes(self._rows(x).rows)
    return self.decode(novel + predicted, like=x).astype(x.dtype)

  def _codes(self, rows: Array) -> tuple[Array, Array]:
    """Novel and predicted codes of normalized inputs."""
    params = self._arrays
    W_dec = params['W_dec']
    W_enc = params.get('W_enc', W_dec.T) / (4 * W_dec.shape[1])
    rest = rows - params['b_dec'] if self.subtract_b_dec else rows
    predicted = jnp.zeros((*rows.shape[:-1], W_dec.shape[0]), rest.dtype)
    for layer in params['attention']:
      codes = _attention(layer, jax.nn.relu(rest @ W_enc), self.heads)
      direction = codes @ W_dec
      length = jnp.linalg.norm(direction, axis=-1, keepdims=True) + _EPS
      share = jnp.sum(direction * rest, -1, keepdims=True) / length**2
      predicted, rest = predicted + share * codes, rest - share * direction
    novel = jax.nn.relu(rest @ W_enc)
    return (novel if self.k is None else _largest(novel, self.k)), predicted

  def _rows(self, x: X) -> Normalized:
    """The activations, normalized, in the parameters' dtype."""
    W_dec = self._arrays['W_dec']
    if x.ndim < 2 or x.shape[-1] != W_dec.shape[1]:
      raise ValueError(
        f'A temporal autoencoder of width {W_dec.shape[1]} was given activations of '
        f'shape {tuple(x.shape)}; they must be [..., T, {W_dec.shape[1]}].'
      )
    dtype = jnp.promote_types(x.dtype, W_dec.dtype)
    return normalized(self.normalize, jnp.asarray(x, dtype) * self.input_scale)

  @property
  def _arrays(self) -> dict[str, Any]:
    """The parameters as jax arrays; an edit read from a file holds numpy's."""
    return jax.tree.map(jnp.asarray, self.params)


def _attention(
  layer: dict[str, Array], codes: Float[Array, '*batch T F'], heads: int
) -> Float[Array, '*batch T F']:
  """What each position gathers from the codes of those before it, rectified.

  Position t attends to the codes of 0..t-1, and to a position of zeros before them.
  """
  zeros = jnp.zeros_like(codes[..., :1, :])
  earlier = jnp.concatenate([zeros, codes[..., :-1, :]], axis=-2)
  part = lambda kind, z: _heads(z @ layer[f'W_{kind}'] + layer[f'b_{kind}'], heads)
  q, k, v = part('Q', codes), part('K', earlier), part('V', earlier)
  scores = jnp.einsum('...thk,...shk->...hts', q, k) / q.shape[-1] ** 0.5
  causal = jnp.tril(jnp.ones(scores.shape[-2:], bool))
  pattern = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf), -1)
  mixed = jnp.einsum('...hts,...shk->...thk', pattern, v).reshape(codes.shape)
  return jax.nn.relu(mixed @ layer['W_O'] + layer['b_O'])


def _heads(x: Float[Array, '*batch N'], heads: int) -> Float[Array, '*batch H K']:
  return x.reshape(*x.shape[:-1], heads, -1)


def _largest(codes: Float[Array, '*batch F'], k: int) -> Float[Array, '*batch F']:
  """The k largest codes of each position."""
  flat = codes.reshape(-1, codes.shape[-1])
  values, indices = jax.lax.top_k(flat, k)
  return kernels.scatter_dense(values, indices, flat.shape[1]).reshape(codes.shape)


# So that edits that splice one can be written to a file.
register_callable(TemporalAutoencoder)
