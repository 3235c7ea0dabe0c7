"""Edge attribution patching: every edge's effect, estimated by one gradient.

The effect of an edge is the change of the metric when it alone carries what the
corrupted run wrote. To first order that is the gradient of the metric with respect to
the edge's entry of `patch` (see `run_patched`), at `patch` 0: the sender's difference
between the runs, times the gradient at the receiver (Nanda 2023; Syed et al. 2023,
arXiv:2310.10348). EAP-IG averages that gradient along a path between the runs (Hanna et
al. 2024, arXiv:2403.17806).
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from interp_jax.circuits.arguments import as_arrays, as_pytree
from interp_jax.circuits.edges import EdgeScores
from interp_jax.circuits.graph import Graph, make_graph
from interp_jax.circuits.metrics import Metric
from interp_jax.circuits.patched import Wiring, walk
from interp_jax.circuits.patches import check_corrupt
from interp_jax.core import Decomposable, Parts, Tokens, unknown

METHODS = ('eap', 'eap-ig-inputs', 'eap-ig-activations', 'clean-corrupted')
# Where on the way from the corrupted run (0) to the clean one (1) gradients are taken.
RULES = {
  'right': lambda steps: np.arange(1, steps + 1) / steps,
  'left': lambda steps: np.arange(steps) / steps,
  'midpoint': lambda steps: (np.arange(steps) + 0.5) / steps,
}


def edge_attribution(
  model: Decomposable,
  params: Any,
  clean: Tokens,
  corrupt: Int[Array | np.ndarray, 'B T'] | Float[Array | np.ndarray, '*s'] | float,
  metric: Metric,
  *,
  method: str = 'eap-ig-inputs',
  steps: int = 5,
  rule: str | Float[np.ndarray, ' steps'] = 'right',
  pooled: bool = False,
  **kwargs: Any,
) -> EdgeScores:
  """Estimates the change of the metric when each edge alone is corrupted.

  Methods, and what they cost in forward-and-backward passes:

  - `'eap'`: the gradient in the clean run; 1.
  - `'eap-ig-inputs'`: its mean over runs from inputs between the corrupted and the
    clean one; `steps`, run as one batch.
  - `'eap-ig-activations'`: for the edges from a layer's heads, from an MLP or from the
    input, its mean over clean runs in which what they write lies between; `2 L + 1`
    times `steps`.
  - `'clean-corrupted'`: its mean over the clean and the corrupted run; 2.

  Args:
    model: The model.
    params: Its parameters.
    clean: Tokens of the clean run.
    corrupt: Tokens of the corrupted run, `[B, T]`, or (but for methods that run it)
      what the senders write instead, which broadcasts to `[S, B, T, D]`: means, or 0.0.
    metric: A number, of the logits; `acts` are empty here.
    method: One of `METHODS`.
    steps: Number of steps `m` of the methods that integrate.
    rule: At which points of the way: `'right'`, k/m for k from 1 to m as in the paper,
      so that one step is EAP; `'left'`, from 0 to m-1, as EAP-IG's code does for
      inputs; or `'midpoint'`, (k + 1/2)/m. Or the points themselves; `steps` is then
      not read.
    pooled: With `'eap-ig-activations'`: whether an edge's score is the mean over all of
      those runs, as in EAP-IG's code, instead of over those of its sender.
    **kwargs: As for `run_patched`: `mask`, `logit_positions`, `frozen`.

  Returns:
    The scores: estimates of `metric(edge corrupted) - metric(clean)`.

  Raises:
    ValueError: if the method or rule is unknown, steps are not positive, tokens do not
      fit each other, the method needs tokens, or the metric is not a single number.
  """
  if method not in METHODS:
    raise ValueError(unknown('method', method, METHODS))
  if isinstance(rule, str) and rule not in RULES:
    raise ValueError(unknown('rule', rule, RULES))
  if steps < 1:
    raise ValueError(f'steps is {steps}; it must be at least 1.')
  tokens = check_corrupt(clean, corrupt)
  if not tokens and method in ('eap-ig-inputs', 'clean-corrupted'):
    raise ValueError(
      f'{method!r} runs the corrupted tokens; got activations. Give tokens [B, T], or '
      "take 'eap' or 'eap-ig-activations'."
    )
  points = RULES[rule](steps) if isinstance(rule, str) else rule
  points = jnp.asarray(points, jnp.result_type(float))
  setup = _Setup(model, method, pooled, tokens)
  args = (params, jnp.asarray(clean), jnp.asarray(corrupt), as_pytree(metric))
  values = _attribute(setup, *args, points, as_arrays(kwargs))
  graph = make_graph(model.cfg)
  return EdgeScores(graph, np.where(graph.edges, values, 0.0))


@dataclasses.dataclass(frozen=True)
class _Setup:
  """What the compiled function is compiled for."""

  model: Any
  method: str
  pooled: bool
  tokens: bool


class ProbeWiring(Wiring):
  """Reads the stream as it is; the gradient of the probe is that of `patch` at 0.

  The gradient is contracted with the senders' gaps where it arises, layer by layer, so
  that gradients of all receivers are never held together.
  """

  def __init__(self, graph: Graph, probe: jax.Array, gap: jax.Array, shift: Any = None):
    """Splits the probe by layers.

    Args:
      graph: The graph.
      probe: Zeros, `[R, S]`.
      gap: The senders' gaps, `[S, B, T, D]`; runs may have several times B rows.
      shift: What to add to the stream as well when attention and MLP of each layer have
        written, `[L, 2, B, T, D]`; None for nothing.
    """
    heads = 3 * graph.heads
    by_layer = probe[:-1].reshape(graph.layers, -1, probe.shape[1])
    self.rows = {
      'heads': by_layer[:, :heads],
      'one': by_layer[:, heads:],
      'shift': shift,
    }
    self.last = {'one': probe[-1:]}
    self._gap = gap

  def heads(
    self, parts: Parts, layer: Any, stream: jax.Array, rows: Any, state: Any
  ) -> tuple[jax.Array, jax.Array]:
    return parts.probed_heads(layer, stream, rows['heads'], self._gap)

  def read_one(self, stream: jax.Array, rows: Any, state: Any) -> jax.Array:
    return _probed(stream, rows['one'], self._gap)

  def add(self, stream: jax.Array, out: jax.Array, rows: Any, mlp: bool) -> jax.Array:
    stream = stream + out
    return stream if rows['shift'] is None else stream + rows['shift'][int(mlp)]


@jax.custom_vjp
def _probed(stream: jax.Array, probe: jax.Array, gap: jax.Array) -> jax.Array:
  """`stream + probe @ gap` for a probe `[1, S]` of zeros: the stream."""
  del probe, gap
  return stream


def _probed_forward(stream: Any, probe: Any, gap: Any) -> tuple[Any, Any]:
  del probe
  return stream, gap


def _probed_backward(gap: jax.Array, grad: jax.Array) -> tuple[Any, Any, None]:
  # Rows of several runs come one run after the other; they share the gap.
  runs = grad.reshape(-1, *gap.shape[1:]).sum(0)
  return grad, jnp.einsum('btd,sbtd->s', runs, gap)[None], None


_probed.defvjp(_probed_forward, _probed_backward)


@functools.partial(jax.jit, static_argnums=0)
def _attribute(setup, params, clean, corrupt, metric, points, kwargs):
  model, graph = setup.model, make_graph(setup.model.cfg)
  positions = kwargs.pop('logit_positions', None)
  own = walk(graph, _parts(model, params, clean, kwargs), Wiring(), positions)
  if setup.tokens:
    other = walk(graph, _parts(model, params, corrupt, kwargs), Wiring(), positions)
    senders = other.senders
  else:
    senders = jnp.broadcast_to(corrupt.astype(own.senders.dtype), own.senders.shape)
  gap = jax.lax.stop_gradient(senders - own.senders)
  probe = jnp.zeros(graph.shape, gap.dtype)

  def gradient(tokens, stream=None, shift=None, times=1):
    """The summed gradient of so many runs of the batch, from streams or tokens."""
    parts = _parts(model, params, _tiled(tokens, times), _tiled_kwargs(kwargs, times))
    wanted = _tiled_positions(positions, times)

    def total(probe):
      wiring = ProbeWiring(graph, probe, gap, shift)
      logits = walk(graph, parts, wiring, wanted, stream=stream).logits
      values = jax.vmap(lambda lg: metric(lg, {}))(
        logits.reshape(times, -1, *logits.shape[1:])
      )
      if values.ndim != 1:
        raise ValueError(
          f'The metric has shape {values.shape[1:]}; attribution needs one number: '
          'take the mean over the batch.'
        )
      return values.sum()

    return jax.grad(total)(probe)

  if setup.method == 'eap':
    return gradient(clean)
  if setup.method == 'clean-corrupted':
    return (gradient(clean) + gradient(corrupt)) / 2
  steps, points = len(points), points.astype(gap.dtype)
  if setup.method == 'eap-ig-inputs':
    far = (1 - points)[:, None, None, None]
    streams = own.senders[0] + far * gap[0]
    streams = streams.reshape(-1, *streams.shape[2:])
    return gradient(clean, streams, times=steps) / steps
  return _by_activations(graph, setup.pooled, gap, points, gradient, clean, own)


def _by_activations(graph, pooled, gap, points, gradient, clean, own):
  """EAP-IG-activations: the senders of a group are moved together, one after another.

  In the clean run they write what they write whatever the later ones do.
  """
  per_layer = gap[1:].reshape(graph.layers, -1, *gap.shape[1:])
  moves = [per_layer[:, : graph.heads].sum(1)]
  # Without MLPs there is nothing to move there.
  moves.append(jnp.zeros_like(moves[0]) if graph.attn_only else per_layer[:, -1])
  moves = jnp.stack(moves, 1)
  places = 1 + jnp.arange(2 * graph.layers).reshape(-1, 2)
  groups = np.unique(graph.sender_groups)

  def one(group_and_point):
    group, point = group_and_point
    here = (places == group)[:, :, None, None, None]
    stream = own.senders[0] + jnp.where(group == 0, (1 - point) * gap[0], 0)
    scores = gradient(clean, stream, jnp.where(here, (1 - point) * moves, 0))
    return scores if pooled else jnp.where(graph.sender_groups == group, scores, 0)

  pairs = jnp.repeat(groups, len(points)), jnp.tile(points, len(groups))
  scores = jax.lax.map(one, pairs).sum(0) / len(points)
  return scores / len(groups) if pooled else scores


def _parts(model: Any, params: Any, tokens: Any, kwargs: Any) -> Any:
  return model.decompose({'params': params}, tokens, **kwargs)


def _tiled(rows: jax.Array, times: int, axis: int = 0) -> jax.Array:
  return jnp.concatenate([rows] * times, axis) if times > 1 else rows


def _tiled_kwargs(kwargs: dict[str, Any], times: int) -> dict[str, Any]:
  """Arguments of the model for so many runs of the batch in one."""
  out: dict[str, Any] = {}
  for name, value in kwargs.items():
    if name == 'frozen':
      # The final norm's divisor has no layer axis in front of the batch.
      axis = lambda site: 0 if site == 'ln_final.scale' else 1
      out[name] = {k: _tiled(act, times, axis(k)) for k, act in value.items()}
    else:
      out[name] = _tiled(value, times)
  return out


def _tiled_positions(positions: Any, times: int) -> Any:
  shared = positions is None or np.ndim(positions) == 1
  return positions if shared else _tiled(positions, times)
