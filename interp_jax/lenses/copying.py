"""Does a head copy? The eigenvalues of its OV circuit say so."""

import functools

import jax
from jaxtyping import Float
import numpy as np

from interp_jax.lenses.circuits import ov_circuits
from interp_jax.lenses.protocol import Config
from interp_jax.lenses.unembed import Params, unembedding
from interp_jax.lenses.writers import embedding


def copying_scores(params: Params, cfg: Config) -> Float[np.ndarray, 'L H']:
  """Whether each head's OV circuit raises the token that it attends to.

  `sum(Re(e)) / sum(|e|)` over the eigenvalues e of `W_E W_V W_O W_U` (Elhage et al.
  2021, "A Mathematical Framework for Transformer Circuits"): 1 for a head that only
  copies, -1 for one that only suppresses, near 0 for a random one. The norms' linear
  parts are folded in, and the eigenvalues that are zero because the circuit has rank K
  are left out: those of `W_O W_U W_E W_V`, `[K, K]`, are the others.

  Args:
    params: Parameters of the model.
    cfg: Its config.

  Returns:
    The scores.
  """
  values = _circuits(params, cfg).eigenvalues()
  return values.real.sum(-1) / np.abs(values).sum(-1)


@functools.partial(jax.jit, static_argnums=1)
def _circuits(params, cfg):
  """`W_E W_V W_O W_U` of every head, between the stream's ends: `W_V W_O (W_U W_E)`."""
  around = unembedding(params, cfg) @ embedding(params, cfg)
  return ov_circuits(params, cfg) @ around
