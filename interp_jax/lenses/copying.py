"""Does a head copy? The eigenvalues of its OV circuit say so."""

from collections.abc import Sequence
import functools

import jax
from jaxtyping import Float
import numpy as np

from interp_jax.lenses.circuits import ov_circuits
from interp_jax.lenses.protocol import Config
from interp_jax.lenses.unembed import Params, unembedding
from interp_jax.lenses.writers import embedding


def copying_scores(
  params: Params, cfg: Config, tokens: Sequence[int] | np.ndarray | None = None
) -> Float[np.ndarray, 'L H']:
  """Whether each head's OV circuit raises the token that it attends to.

  `sum(Re(e)) / sum(|e|)` over the eigenvalues e of `W_E W_V W_O W_U` (Elhage et al.
  2021, "A Mathematical Framework for Transformer Circuits"): 1 for a head that only
  copies, -1 for one that only suppresses, near 0 for a random one. The norms' linear
  parts are folded in, and the eigenvalues that are zero because the circuit has rank K
  are left out: those of `W_O W_U W_E W_V`, `[K, K]`, are the others.

  Args:
    params: Parameters of the model.
    cfg: Its config.
    tokens: Ids of the tokens whose copying counts: rows of `W_E` and columns of `W_U`,
      all by default. A token that text never goes on with, BOS above all, is pushed
      down by heads that rest on it; where the vocabulary is small, its one negative
      eigenvalue can hide that they copy all others.

  Returns:
    The scores.

  Raises:
    ValueError: if there are no tokens, or an id is none of the vocabulary.
  """
  ids = None if tokens is None else np.asarray(tokens)
  last = len(params['embed']['W_E']) - 1
  if ids is not None and (not ids.size or ids.min() < 0 or ids.max() > last):
    raise ValueError(
      f'copying_scores: tokens is {tokens}; give at least one id from 0 to {last}, or '
      'None for all.'
    )
  values = _circuits(params, cfg, ids).eigenvalues()
  return values.real.sum(-1) / np.abs(values).sum(-1)


@functools.partial(jax.jit, static_argnums=1)
def _circuits(params, cfg, ids):
  """`W_E W_V W_O W_U` of every head, between the stream's ends: `W_V W_O (W_U W_E)`."""
  write, read = unembedding(params, cfg), embedding(params, cfg)
  around = write @ read if ids is None else write[:, ids] @ read[ids]
  return ov_circuits(params, cfg) @ around
