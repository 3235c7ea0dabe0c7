"""One vector for a text, from an encoder's residual stream."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
import numpy as np

from interp_jax.core import unknown

POOLINGS = ('mean', 'first', 'pooler')


def pool(
  params: Mapping[str, Any],
  resid: Float[Array | np.ndarray, 'B T D'],
  mask: Bool[Array | np.ndarray, 'B T'] | None = None,
  kind: str = 'mean',
  normalize: bool = False,
) -> Float[Array, 'B D']:
  """Pools the last residual stream into one vector per sequence.

  An encoder without a head gives that stream in place of logits; of one with a head it
  is the last layer's `acts['ln2.normalized'][-1]`.

  Args:
    params: The model's parameters; read for 'pooler' only.
    resid: The residual stream.
    mask: False at padding; None: no padding.
    kind: 'mean' over the tokens (Reimers and Gurevych 2019, arXiv:1908.10084), 'first',
      the first token's vector, or 'pooler', that vector through BERT's pooling layer.
    normalize: Whether vectors are scaled to length one, as sentence embedders do.

  Returns:
    The vectors.

  Raises:
    ValueError: if the kind is not known, or the model has no pooling layer.
  """
  if kind not in POOLINGS:
    raise ValueError(unknown('pooling', kind, POOLINGS))
  valid = jnp.ones(resid.shape[:2], bool) if mask is None else jnp.asarray(mask)
  if kind == 'mean':
    weights = valid.astype(resid.dtype)[..., None]
    vectors = (resid * weights).sum(1) / jnp.maximum(weights.sum(1), 1)
  else:
    first = valid.argmax(1)[:, None, None]  # Padding may stand on the left.
    vectors = jnp.take_along_axis(jnp.asarray(resid), first, 1)[:, 0]
  if kind == 'pooler':
    if 'pooler' not in params:
      raise ValueError(f'pool: the model has no pooler; take one of {POOLINGS[:2]}.')
    dense = params['pooler']
    vectors = jnp.tanh(vectors @ dense['W'] + dense['b'])
  if normalize:
    vectors = vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)
  return vectors
