"""Does a head copy? The eigenvalues of its OV circuit say so."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Float
import numpy as np

from interp_jax.lenses.logit_lens import output_matrices
from interp_jax.lenses.protocol import Config
from interp_jax.lenses.unembed import Params, fold_norm, unembedding


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
  circuits = np.asarray(_circuits(params, cfg), np.float64)
  values = np.linalg.eigvals(circuits)
  return values.real.sum(-1) / np.abs(values).sum(-1)


@functools.partial(jax.jit, static_argnums=1)
def _circuits(params, cfg):
  """`W_O W_U W_E W_V` of every head, `[L, H, K, K]`."""
  readers, writers = params['blocks']['attn']['W_V'], output_matrices(params, cfg)
  around = unembedding(params, cfg) @ (params['embed']['W_E'] * cfg.embed_scale)
  group = writers.shape[1] // readers.shape[1]

  def one_layer(norm, w_v, w_o):
    folded = jax.vmap(lambda reader: fold_norm(norm, cfg, reader))(w_v)
    folded = jnp.repeat(folded, group, axis=0)
    return jnp.einsum('hkd,de,hej->hkj', w_o, around, folded)

  return jax.vmap(one_layer)(params['blocks'].get('ln1'), readers, writers)
