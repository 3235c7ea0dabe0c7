"""One run of a model whose every edge can carry what another run wrote.

Receiver r reads `stream + sum over senders s of patch[r, s] * (other[s] - out[s])`,
where `out` is what the senders write in this very run and `other` is what they write
in another (a corrupted one, a mean, zeros). With `patch` 0 everywhere it is the model's
own run, with 1 everywhere the other one. The same function serves

- exact edge patching: one entry of `patch` is 1, `vmap`ped over the edges;
- a circuit: `patch` is 1 at the edges outside of it;
- edge attribution patching: the gradient with respect to `patch` at 0;
- learned masks and ACDC: optimisation of, or a search over, `patch`.

Constants (the bias of attention's output, a bias of a norm after it) belong to no
sender: they are the same in every run, and cancel in the difference. An MLP's bias
belongs to the MLP.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped
import numpy as np

from interp_jax.circuits.graph import Graph, make_graph
from interp_jax.core import Decomposable, Parts, Tokens


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GraphRun:
  """A run, with what every sender wrote in it.

  Attributes:
    logits: The logits `[B, P, V]`.
    senders: What each sender wrote to the stream, `[S, B, T, D]`.
    streams: The stream before each layer and after the last, `[L + 1, B, T, D]`.
  """

  logits: Any
  senders: Any
  streams: Any


def run_patched(
  model: Decomposable,
  params: Any,
  tokens: Tokens,
  patch: Shaped[Array | np.ndarray, 'R S *bt'] | None = None,
  other: Any = None,
  *,
  start: Any = None,
  base: GraphRun | None = None,
  **kwargs: Any,
) -> GraphRun:
  """Runs the model with edges patched. Pure: `jit`, `vmap` and `grad` it.

  Args:
    model: The model.
    params: Its parameters.
    tokens: Tokens of this run.
    patch: How much of the other run each edge carries: 0 (or False) for this run's own
      value, 1 (or True) for the other's, or between; entries that are no edges are not
      read. `[R, S]`, or `[R, S, B or 1, T or 1]` to differ by example or position.
      None: nothing is patched.
    other: What the senders write in the other run; broadcasts to `[S, B, T, D]`.
    start: The first layer to compute; may be traced. Earlier layers are as in `base`,
      so nothing may be patched there. None for 0.
    base: The run of these tokens without patches; needed with `start`.
    **kwargs: `mask` `[B, T]` (padding), `logit_positions` `[P]` or `[B, P]`, and
      `frozen`, activations to hold fixed (see `freeze`).

  Returns:
    The run. Under `jit`, what is not returned is not kept.

  Raises:
    ValueError: if shapes do not fit the model, or one of `patch` and `other`, or
      `start` and `base`, is given without the other.
  """
  graph = make_graph(model.cfg)
  check_patch(graph, patch, other)
  if (start is None) != (base is None):
    raise ValueError('run_patched: give start and base together, or neither.')
  positions = kwargs.pop('logit_positions', None)
  parts = model.decompose({'params': params}, tokens, **kwargs)
  if patch is None:
    wiring: Wiring = Wiring()
  else:
    wiring = dense_wiring(graph, parts, patch, other, start, base)
  return walk(graph, parts, wiring, positions, start, base)


def freeze(
  model: Decomposable,
  params: Any,
  tokens: Tokens,
  *,
  norms: bool = True,
  patterns: bool = True,
  **kwargs: Any,
) -> dict[str, Any]:
  """Activations of a run to hold fixed, so that the model is linear but for its MLPs.

  Args:
    model: The model.
    params: Its parameters.
    tokens: Tokens of the run.
    norms: Whether the divisors of norms are held.
    patterns: Whether attention patterns are held.
    **kwargs: Passed to the model: `mask`.

  Returns:
    `frozen` for `run_patched` and everything that passes it on: site → activation.
  """
  return _freeze(model, norms, patterns, params, jnp.asarray(tokens), kwargs)


def check_patch(graph: Graph, patch: Any, other: Any) -> None:
  """Refuses a patch that does not fit the graph.

  Raises:
    ValueError: if it does not.
  """
  if (patch is None) != (other is None):
    raise ValueError('run_patched: give patch and other together, or neither.')
  if patch is None:
    return
  shape = np.shape(patch)
  if shape[:2] != graph.shape or len(shape) not in (2, 4):
    r, s = graph.shape
    raise ValueError(
      f'patch has shape {shape}; this model has {r} receivers and {s} senders: give '
      f'[{r}, {s}], or [{r}, {s}, B or 1, T or 1].'
    )


class Wiring:
  """How receivers read: this one, the stream as it is. See `DenseWiring`.

  Attributes:
    rows: A pytree with a leading layer axis: what the methods need of a layer.
    last: The same for logits.
    state: What is carried from layer to layer.
  """

  rows: Any = None
  last: Any = None
  state: Any = None

  def heads(
    self, parts: Parts, layer: Any, stream: jax.Array, rows: Any, state: Any
  ) -> tuple[jax.Array, jax.Array]:
    """What the heads of a layer write, `[B, T, H, D]`, and what attention writes."""
    del rows, state
    return parts.heads(layer, stream[:, :, None])

  def read_one(self, stream: jax.Array, rows: Any, state: Any) -> jax.Array:
    """What the MLP of a layer, or logits, read, `[B, T, D]`."""
    del rows, state
    return stream

  def add(self, stream: jax.Array, out: jax.Array, rows: Any, mlp: bool) -> jax.Array:
    """The stream after attention, or an MLP, has written `out` `[B, T, D]`."""
    del rows, mlp
    return stream + out

  def write(
    self, state: Any, rows: Any, layer: jax.Array, outs: jax.Array, mlp: bool
  ) -> Any:
    """The state after heads `[B, T, H, D]`, or an MLP `[B, T, 1, D]`, have written."""
    del rows, layer, outs, mlp
    return state


class DenseWiring(Wiring):
  """Every receiver reads the stream, and of every sender's gap as much as is patched.

  The state is the gap `other - out` of each sender, `[S, B, T, D]`; zeros before it has
  written, so that what is no edge is not read.
  """

  def __init__(self, graph: Graph, patch: jax.Array, other: jax.Array, gap: jax.Array):
    """Splits the patch by layers."""
    heads = 3 * graph.heads
    by_layer = patch[:-1].reshape(graph.layers, -1, *patch.shape[1:])
    outs = other[1:].reshape(graph.layers, -1, *other.shape[1:])
    self.rows = {
      'heads': by_layer[:, :heads],
      'one': by_layer[:, heads:],
      'other_heads': outs[:, : graph.heads],
      'other_mlp': outs[:, graph.heads :],
    }
    self.last = {'one': patch[-1:]}
    self.state = gap
    self._graph = graph

  def heads(
    self, parts: Parts, layer: Any, stream: jax.Array, rows: Any, state: Any
  ) -> tuple[jax.Array, jax.Array]:
    return parts.heads(layer, stream[:, :, None] + _mixed(rows['heads'], state))

  def read_one(self, stream: jax.Array, rows: Any, state: Any) -> jax.Array:
    return stream + _mixed(rows['one'], state)[:, :, 0]

  def write(
    self, state: Any, rows: Any, layer: jax.Array, outs: jax.Array, mlp: bool
  ) -> Any:
    gap = rows['other_mlp' if mlp else 'other_heads'] - jnp.moveaxis(outs, 2, 0)
    first = 1 + layer * self._graph.senders_per_layer + mlp * self._graph.heads
    return jax.lax.dynamic_update_slice_in_dim(state, gap, first, 0)


def dense_wiring(
  graph: Graph, parts: Parts, patch: Any, other: Any, start: Any, base: Any
) -> DenseWiring:
  """The wiring of a patch, before the first layer or before layer `start`."""
  stream = parts.stream
  shape = (graph.shape[1], *stream.shape)
  patch = jnp.asarray(patch, stream.dtype)
  if patch.ndim == 4:
    patch = jnp.broadcast_to(patch, (*graph.shape, *stream.shape[:2]))
  other = jnp.broadcast_to(jnp.asarray(other, stream.dtype), shape)
  if base is None:
    gap = jnp.zeros(shape, stream.dtype).at[0].set(other[0] - stream)
  else:
    written = jnp.asarray(graph.sender_layers) < start
    gap = jnp.where(written[:, None, None, None], other - base.senders, 0)
  return DenseWiring(graph, patch, other, gap)


def walk(
  graph: Graph,
  parts: Parts,
  wiring: Wiring,
  positions: Any,
  start: Any = None,
  base: GraphRun | None = None,
  stream: Any = None,
) -> GraphRun:
  """Runs the layers, each receiver reading through the wiring.

  Args:
    graph: The graph.
    parts: The model, taken apart.
    wiring: How receivers read.
    positions: Positions to unembed, or None for all.
    start: As for `run_patched`.
    base: As for `run_patched`.
    stream: What the input writes, in the place of the tokens' embedding.

  Returns:
    The run.
  """
  entered = parts.stream if stream is None else stream

  def run(carry, xs):
    stream, state = carry
    layer, rows, index = xs
    before = stream
    heads, attn_out = wiring.heads(parts, layer, stream, rows, state)
    stream = wiring.add(stream, attn_out, rows, False)
    after = wiring.write(state, rows, index, heads, False)
    if graph.attn_only:
      return (stream, after), (heads, before)
    # A parallel MLP reads what the heads of its layer read.
    seen = (before, state) if graph.parallel else (stream, after)
    mlp_out = parts.mlp(layer, wiring.read_one(seen[0], rows, seen[1]))
    stream = wiring.add(stream, mlp_out, rows, True)
    after = wiring.write(after, rows, index, mlp_out[:, :, None], True)
    outs = jnp.concatenate([heads, mlp_out[:, :, None]], 2)
    return (stream, after), (outs, before)

  def body(carry, xs):
    if start is None:
      return run(carry, xs)
    kept = jax.tree.map(jnp.zeros_like, jax.eval_shape(run, carry, xs)[1])
    return jax.lax.cond(xs[2] < start, lambda c, x: (c, kept), run, carry, xs)

  first = entered if base is None else base.streams[start]
  xs = (parts.layers, wiring.rows, jnp.arange(graph.layers))
  (stream, state), (outs, streams) = jax.lax.scan(body, (first, wiring.state), xs)
  logits = parts.logits(wiring.read_one(stream, wiring.last, state), positions)
  # [L, B, T, H + 1, D] to [S - 1, B, T, D].
  outs = jnp.moveaxis(outs, 3, 1).reshape(-1, *entered.shape)
  senders = jnp.concatenate([entered[None], outs])
  streams = jnp.concatenate([streams, stream[None]])
  if base is not None:
    earlier = lambda layers: jnp.asarray(layers < start)[:, None, None, None]
    senders = jnp.where(earlier(graph.sender_layers), base.senders, senders)
    streams = jnp.where(earlier(np.arange(graph.layers + 1)), base.streams, streams)
  return GraphRun(logits, senders, streams)


def _mixed(patch: jax.Array, gap: jax.Array) -> jax.Array:
  """What the patch adds to each receiver's read, `[B, T, n, D]`."""
  axes = 'rs' if patch.ndim == 2 else 'rsbt'
  return jnp.einsum(f'{axes},sbtd->btrd', patch, gap)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _freeze(model, norms, patterns, params, tokens, kwargs):
  _, acts = model.apply({'params': params}, tokens, **kwargs)
  norm = lambda name: name.endswith('.scale') and name != 'ln_embed.scale'
  return {
    name: act
    for name, act in acts.items()
    if (norms and norm(name)) or (patterns and name == 'pattern')
  }
