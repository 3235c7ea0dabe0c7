"""Heads as two circuits of low rank: where they attend, and what they move.

Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits". With rows `x`
of the residual stream, divided by the divisor of the norm that the head reads through,

    score from x to y     x @ QK @ y.T
    what y writes         y @ OV

The linear parts of the norms are folded in: gain and centring of the norm before, gains
of a norm of queries and keys, and of a norm after attention. What is constant (biases)
or not linear (divisors, a soft cap) is left out, and so is the factor on the scores. A
head of a group shares keys and values with its group.
"""

from collections.abc import Sequence
import functools
import itertools
import operator
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from interp_jax import edits
from interp_jax.core import Model
from interp_jax.lenses.factored import FactoredMatrix
from interp_jax.lenses.protocol import Config
from interp_jax.lenses.unembed import Params, unembedding
from interp_jax.lenses.writers import embedding, input_matrices, output_matrices

Head = tuple[int, int]
"""Layer and head."""


def qk_circuits(
  params: Params,
  cfg: Config,
  rotation: Float[Array | np.ndarray, 'L K K'] | None = None,
) -> FactoredMatrix:
  """`W_Q W_K.T` of all heads, `[L, H, D, D]`: queries are rows, keys are columns.

  Positions that are turned into queries and keys (rotary) make the circuit depend on
  how far apart the two are. Without `rotation` it is the circuit between a token and
  itself, distance 0. Positions that add to the scores (ALiBi) or to the stream are not
  in it.

  Args:
    params: Parameters of the model.
    cfg: Its config.
    rotation: Of a distance, from `relative_rotation`.

  Returns:
    The circuits.
  """
  queries, keys = (input_matrices(params, cfg, kind) for kind in 'QK')
  if cfg.qk_norm != 'none':
    attn = params['blocks']['attn']
    queries = queries * _gain(attn['q_norm']['w'])
    keys = keys * _gain(attn['k_norm']['w'])
  if rotation is not None:
    queries = jnp.einsum('lhdk,lkj->lhdj', queries, rotation)
  keys = _for_every_head(keys, queries.shape[1])
  return FactoredMatrix(queries, jnp.matrix_transpose(keys))


def ov_circuits(params: Params, cfg: Config) -> FactoredMatrix:
  """`W_V W_O` of all heads, `[L, H, D, D]`: from the stream of the key to the query's.

  Args:
    params: Parameters of the model.
    cfg: Its config.

  Returns:
    The circuits.
  """
  writers = output_matrices(params, cfg)
  readers = _for_every_head(input_matrices(params, cfg, 'V'), writers.shape[1])
  return FactoredMatrix(readers, writers)


def full_qk_circuits(
  params: Params,
  cfg: Config,
  rotation: Float[Array | np.ndarray, 'L K K'] | None = None,
) -> FactoredMatrix:
  """`W_E W_QK W_E.T` of all heads, `[L, H, V, V]`: how much tokens attend to tokens.

  The factors of all heads are `[L, H, V, K]`. Where that is too much, take a head
  first: `table @ qk_circuits(params, cfg)[layer, head] @ table.T`, with
  `table = embedding(params, cfg)`.

  Args:
    params: Parameters of the model.
    cfg: Its config.
    rotation: As in `qk_circuits`.

  Returns:
    The circuits.
  """
  table = embedding(params, cfg)
  return table @ qk_circuits(params, cfg, rotation) @ table.T


def full_ov_circuits(params: Params, cfg: Config) -> FactoredMatrix:
  """`W_E W_OV W_U` of all heads, `[L, H, V, V]`: logits by the token attended to.

  As for `full_qk_circuits`, large models are better taken a head at a time.

  Args:
    params: Parameters of the model.
    cfg: Its config.

  Returns:
    The circuits, times the divisors of the norms.
  """
  return embedding(params, cfg) @ ov_circuits(params, cfg) @ unembedding(params, cfg)


def path_ov(ov: FactoredMatrix, path: Sequence[Head]) -> FactoredMatrix:
  """The OV circuit of a virtual head: heads that pass on what the one before wrote.

  Args:
    ov: From `ov_circuits`.
    path: Layer and head of each, in the order of their layers.

  Returns:
    The circuit, `[D, D]`.

  Raises:
    ValueError: if the path is empty or its layers do not rise.
  """
  layers = [layer for layer, _ in path]
  if not layers or any(a >= b for a, b in itertools.pairwise(layers)):
    raise ValueError(
      f'path_ov: path is {list(path)}; give (layer, head) of one or more heads, each '
      'in a later layer than the one before.'
    )
  return functools.reduce(operator.matmul, (ov[head] for head in path))


def path_qk(
  qk: FactoredMatrix,
  ov: FactoredMatrix,
  head: Head,
  queries: Sequence[Head] = (),
  keys: Sequence[Head] = (),
) -> FactoredMatrix:
  """The QK circuit of a head that reads what paths of earlier heads wrote.

  An induction head's is `path_qk(qk, ov, head, keys=[previous_token_head])`: it attends
  where the token before was the one that the query has.

  Args:
    qk: From `qk_circuits`.
    ov: From `ov_circuits`.
    head: Layer and head that attends.
    queries: Path to its query (Q-composition); empty for the stream itself.
    keys: Path to its key (K-composition); empty for the stream itself.

  Returns:
    The circuit, `[D, D]`.

  Raises:
    ValueError: if a path does not rise to a layer below the head's.
  """
  circuit = qk[head]
  for path in (queries, keys):
    if path and path[-1][0] >= head[0]:
      raise ValueError(
        f'path_qk: head {head} cannot read {path[-1]}, which is not in an earlier '
        'layer.'
      )
  if queries:
    circuit = path_ov(ov, queries) @ circuit
  return circuit @ path_ov(ov, keys).T if keys else circuit


def relative_rotation(
  model: Model, params: Params, distance: int, length: int | None = None
) -> Float[Array, 'L K K']:
  """What rotary positions do between a query and a key that are so far apart.

  It is read off the model: unit vectors are set for queries and keys, and what becomes
  of them is looked at. So it holds for every kind of scaling, factors included.

  Args:
    model: A model with the sites `q`, `k`, `rot_q` and `rot_k`.
    params: Its parameters.
    distance: Position of the query less that of the key; negative for a key behind the
      query.
    length: Number of tokens of the run, on which some scalings depend; by default the
      fewest.

  Returns:
    Of each layer: `q @ rotation @ k` is the product of a query and a key that far
    apart, both before they are turned.

  Raises:
    ValueError: if the model does not turn queries, or the run is too short.
  """
  length = abs(distance) + 1 if length is None else length
  if length <= abs(distance):
    raise ValueError(
      f'relative_rotation: a run of {length} tokens has no distance of {distance}.'
    )
  return _rotation(model, params, length, max(distance, 0), max(-distance, 0))


@functools.partial(jax.jit, static_argnums=(0, 2, 3, 4))
def _rotation(model, params, length, query, key):
  width = params['blocks']['attn']['W_Q'].shape[-1]
  normed = 'q_norm' in params['blocks']['attn']
  # So long that nothing counts beside them in a norm, which makes each entry's length
  # the root of the width; the gains are the circuit's.
  units = jnp.eye(width, dtype=params['embed']['W_E'].dtype)
  units = units * (1e6 if normed else 1.0)
  params = _without_gains(params) if normed else params
  todo = {name: edits.Replace(units[:, None, None]) for name in 'qk'}
  tokens = jnp.zeros((width, length), jnp.int32)
  _, acts = model.apply({'params': params}, tokens, todo)
  if 'rot_q' not in acts:
    raise ValueError('relative_rotation: the model has no rotary positions.')
  turned = acts['rot_q'][:, :, query, 0], acts['rot_k'][:, :, key, 0]
  return jnp.einsum('lak,lbk->lab', *turned) / (width if normed else 1)


def _without_gains(params: Params) -> dict[str, Any]:
  ones = {
    name: {'w': jnp.ones_like(params['blocks']['attn'][name]['w'])}
    for name in ('q_norm', 'k_norm')
  }
  attn = {**params['blocks']['attn'], **ones}
  return {**params, 'blocks': {**params['blocks'], 'attn': attn}}


def _gain(w: Float[Array, 'L *heads K']) -> Float[Array, 'L #H 1 K']:
  """Gains of a norm of queries or keys, one for all heads or one for each."""
  return w[:, None, None] if w.ndim == 2 else w[:, :, None]


def _for_every_head(groups: Float[Array, 'L G D K'], heads: int) -> jax.Array:
  return jnp.repeat(groups, heads // groups.shape[1], axis=1)
