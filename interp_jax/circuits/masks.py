"""Circuits by learned masks: which edges (or nodes) can be gates that close?

Every edge gets a gate z in 0..1 that is drawn at each step from a hard concrete
distribution (Louizos et al. 2018, arXiv:1712.01312), which has mass at exactly 0 and 1;
an edge carries z of its own value and 1 - z of the ablated one. The loss of the gated
model and the expected number of open gates are made small together, by gradient descent
on the gates' parameters. With a gate for each edge and a target for their number this
is edge pruning (Bhaskar et al. 2024, arXiv:2406.16778); with a gate for each node and a
price for each that is open, subnetwork probing (Cao et al. 2021, arXiv:2104.03514).
Each example has draws of its own: as many as the batch has examples are averaged.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np
import optax
import tqdm

from interp_jax.circuits.discovery import Discovery
from interp_jax.circuits.edges import Circuit, EdgeScores
from interp_jax.circuits.graph import make_graph
from interp_jax.circuits.patched import run_patched
from interp_jax.core import unknown

GATES = ('edge', 'node')
# The hard concrete distribution: temperature, and how far it is stretched past 0 and 1.
TEMPERATURE, LOW, HIGH = 2 / 3, -0.1, 1.1
# Steps between two updates of the progress bar; each is one compiled loop.
SEGMENT = 50


@dataclasses.dataclass(frozen=True)
class MaskConfig:
  """How masks are learned.

  Attributes:
    gates: 'edge', a gate for each edge; 'node', one for each sender, which opens or
      closes all its edges.
    target: The share of gates that should be open in the end, reached by a Lagrangian
      whose multipliers rise as long as it is missed. None for a fixed price.
    price: Without a target: what the share of open gates costs, in units of the loss.
    steps: Steps of Adam.
    warmup: The share of the steps over which the target falls from 1.
    learning_rate: Of the gates' parameters.
    multiplier_rate: Learning rate of the multipliers.
    initial: The gates' parameters to begin with: the log-odds of being open, roughly.
    seed: Of the draws.
  """

  gates: str = 'edge'
  target: float | None = None
  price: float = 1.0
  steps: int = 1000
  warmup: float = 0.6
  learning_rate: float = 0.1
  multiplier_rate: float = 0.1
  initial: float = 3.0
  seed: int = 0

  def __post_init__(self):
    if self.gates not in GATES:
      raise ValueError(unknown('kind of gates', self.gates, GATES))
    if self.target is not None and not 0 <= self.target <= 1:
      raise ValueError(f'target={self.target} must be a share of the gates, 0..1.')
    if self.steps < 1 or self.learning_rate <= 0:
      raise ValueError(
        f'steps={self.steps} and learning_rate={self.learning_rate} must be positive.'
      )


@dataclasses.dataclass(frozen=True)
class LearnedMask:
  """Gates after training.

  Attributes:
    scores: The log-odds of each edge's gate; a node's gate is that of all its edges.
    open: The edges whose gate is open without noise: more than half.
    losses: The loss at each step, under the noise of that step.
    shares: The expected share of open gates at each step.
  """

  scores: EdgeScores
  open: Circuit
  losses: Float[np.ndarray, ' steps']
  shares: Float[np.ndarray, ' steps']


def edge_pruning(
  discovery: Discovery, target: float, *, progress: bool = True, **settings: Any
) -> LearnedMask:
  """Learns which edges to keep, so many of them (Bhaskar et al. 2024).

  Args:
    discovery: The model, the inputs, the ablation and the loss.
    target: The share of edges to keep.
    progress: Whether to show a progress bar.
    **settings: Other fields of `MaskConfig`.

  Returns:
    The gates.
  """
  return learn_mask(discovery, MaskConfig('edge', target, **settings), progress)


def subnetwork_probing(
  discovery: Discovery, price: float = 1.0, *, progress: bool = True, **settings: Any
) -> LearnedMask:
  """Learns which nodes to keep, each at a price (Cao et al. 2021).

  Args:
    discovery: The model, the inputs, the ablation and the loss.
    price: What keeping all nodes costs, in units of the loss.
    progress: Whether to show a progress bar.
    **settings: Other fields of `MaskConfig`.

  Returns:
    The gates.
  """
  config = MaskConfig('node', None, price, **settings)
  return learn_mask(discovery, config, progress)


def learn_mask(
  discovery: Discovery, config: MaskConfig, progress: bool = True
) -> LearnedMask:
  """Learns gates.

  Args:
    discovery: The model, the inputs, the ablation and the loss.
    config: How.
    progress: Whether to show a progress bar.

  Returns:
    The gates.

  Raises:
    ValueError: if the loss is not finite at the end.
  """
  graph = discovery.graph
  among = graph.edges if config.gates == 'edge' else np.ones((1, graph.shape[1]), bool)
  state = _begin(config, among.shape)
  given = (discovery.params, discovery.tokens, discovery.other, discovery.loss)
  given = (*given, discovery.kwargs, jnp.asarray(among))
  losses, shares = [], []
  with tqdm.tqdm(total=config.steps, unit='step', disable=not progress) as bar:
    for first in range(0, config.steps, SEGMENT):
      steps = jnp.arange(first, min(first + SEGMENT, config.steps))
      state, (loss, share) = _train(discovery.model, config, *given, state, steps)
      losses.append(np.asarray(loss))
      shares.append(np.asarray(share))
      bar.update(len(steps))
      bar.set_postfix(loss=f'{losses[-1][-1]:.3g}', open=f'{shares[-1][-1]:.3f}')
  if not np.isfinite(losses[-1][-1]):
    raise ValueError(
      f'learn_mask: the loss is {losses[-1][-1]}; lower learning_rate='
      f'{config.learning_rate}.'
    )
  logits = np.broadcast_to(np.asarray(state['gates']['logits']), graph.shape)
  scores = EdgeScores(graph, np.where(graph.edges, logits, 0))
  # Without noise a gate is open by more than half where its log-odds are positive.
  circuit = Circuit(graph, graph.edges & (logits > 0), scores.values)
  return LearnedMask(scores, circuit, np.concatenate(losses), np.concatenate(shares))


def open_probability(logits: Float[Array, '*n']) -> Float[Array, '*n']:
  """The probability that a gate is not closed altogether (Louizos et al., eq. 12)."""
  return jax.nn.sigmoid(logits - TEMPERATURE * math.log(-LOW / HIGH))


def draw_gates(logits: Float[Array, '*n'], key: Array) -> Float[Array, '*n']:
  """A draw from the hard concrete distribution (Louizos et al., eq. 10 and 11)."""
  noise = jax.random.logistic(key, logits.shape, logits.dtype)
  soft = jax.nn.sigmoid((noise + logits) / TEMPERATURE)
  return jnp.clip(soft * (HIGH - LOW) + LOW, 0, 1)


def _begin(config: MaskConfig, shape: tuple[int, ...]) -> dict[str, Any]:
  gates = {'logits': jnp.full(shape, config.initial, jnp.float32)}
  multipliers = jnp.zeros(2)
  return {
    'gates': gates,
    'multipliers': multipliers,
    'adam': optax.adam(config.learning_rate).init(gates),
    'ascent': optax.adam(config.multiplier_rate).init(multipliers),
  }


def _charge(config: MaskConfig, share: Array, multipliers: Array, step: Array) -> Array:
  """What open gates cost."""
  if config.target is None:
    return config.price * share
  done = jnp.minimum(1, (step + 1) / max(1.0, config.warmup * config.steps))
  missed = share - (1 + (config.target - 1) * done)
  return multipliers[0] * missed + multipliers[1] * jnp.square(missed)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _train(model, config, params, tokens, other, loss, kwargs, among, state, steps):
  """Some steps, as one loop."""

  def objective(gates, multipliers, step):
    key = jax.random.fold_in(jax.random.key(config.seed), step)
    logits = jnp.broadcast_to(gates['logits'], (len(tokens), *among.shape))
    z = jnp.where(among, draw_gates(logits, key), 0)
    patch = jnp.broadcast_to(1 - z, (len(tokens), *make_graph(model.cfg).shape))
    patch = jnp.moveaxis(patch, 0, 2)[..., None]
    run = run_patched(model, params, tokens, patch, other, **kwargs)
    value = loss(run.logits, {})
    share = jnp.where(among, open_probability(gates['logits']), 0).sum() / among.sum()
    return value + _charge(config, share, multipliers, step), (value, share)

  def body(state, step):
    grads, told = jax.grad(objective, (0, 1), has_aux=True)(
      state['gates'], state['multipliers'], step
    )
    updates, adam = optax.adam(config.learning_rate).update(grads[0], state['adam'])
    # The multipliers go up the gradient: they make a missed target dearer.
    ascents, ascent = optax.adam(config.multiplier_rate).update(
      -grads[1], state['ascent']
    )
    return {
      'gates': optax.apply_updates(state['gates'], updates),
      'multipliers': optax.apply_updates(state['multipliers'], ascents),
      'adam': adam,
      'ascent': ascent,
    }, told

  return jax.lax.scan(body, state, steps)
