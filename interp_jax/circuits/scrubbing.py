"""Causal scrubbing: is an explanation enough, down to what each part computes?

Chan et al. 2022, "Causal Scrubbing: a method for rigorously testing interpretability
hypotheses". A hypothesis names the edges that matter and, for what is sent over them,
the feature of the input that it depends on. If it is true, each value may come from
another input with the same feature, and everything else from any input at all, and
the model must do as before. The test is recursive: to compute a node on an input, each
of its important inputs is computed, in the same way, on an input that agrees on the
feature, drawn anew each time; so the computation is laid out as a tree in which a node
that is used twice is computed twice, on different inputs.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np
import tqdm

from interp_jax.circuits.discovery import Discovery
from interp_jax.circuits.edges import Circuit
from interp_jax.circuits.graph import INPUT, LOGITS, QKV, Graph, node_layer

# A label for each input `[N]`, or several `[N, n]`; or a function of tokens `[N, T]`.
Feature = Any


@dataclasses.dataclass(frozen=True)
class Hypothesis:
  """What matters, and what it depends on.

  Attributes:
    circuit: The edges that matter. What is sent over all others may come from any
      input.
    features: Sender, or edge `sender->receiver` (which comes first) → labels: inputs
      with equal labels may stand for each other there. An array `[N]` or `[N, n]` over
      the inputs, or a function from tokens `[N, T]` to one. A sender without labels may
      depend on everything: it is given the same input.
  """

  circuit: Circuit
  features: Mapping[str, Feature] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Scrubbed:
  """The metric of a scrubbed model.

  Attributes:
    values: The metric of each sample: all inputs, scrubbed.
    clean: The metric of the model.
    random: The metric of each sample when the model sees other inputs than it is judged
      by.
    nodes: How many nodes the tree has.
  """

  values: Float[np.ndarray, ' samples']
  clean: float
  random: Float[np.ndarray, ' samples']
  nodes: int

  @property
  def recovered(self) -> float:
    """The share of the metric that the explanation accounts for.

    1 as the model, 0 as a model that sees random inputs.
    """
    chance = float(self.random.mean())
    return (float(self.values.mean()) - chance) / (self.clean - chance)


def scrub(
  discovery: Discovery,
  hypothesis: Hypothesis,
  *,
  samples: int = 10,
  seed: int = 0,
  most_nodes: int = 10_000,
  progress: bool = True,
) -> Scrubbed:
  """Resamples everything that a hypothesis says may be resampled.

  Args:
    discovery: The model, the inputs (from which all draws are made) and the metric.
      What it says of ablation is not used.
    hypothesis: What matters, and what it depends on.
    samples: How often to run all inputs.
    seed: Of the draws.
    most_nodes: The largest tree to compute.
    progress: Whether to show a progress bar.

  Returns:
    The metric.

  Raises:
    ValueError: if a feature is of no sender or edge, or has not one label for each
      input; if the tree is too large; or if the inputs are padded.
  """
  if discovery.kwargs.get('mask') is not None:
    raise ValueError('scrub: inputs with padding cannot stand for each other.')
  graph = discovery.graph
  nodes = tree_sizes(hypothesis.circuit)[LOGITS]
  if nodes > most_nodes:
    raise ValueError(
      f'scrub: the tree of this circuit of {len(hypothesis.circuit)} edges has {nodes} '
      f'nodes, more than most_nodes={most_nodes}. Give a smaller circuit.'
    )
  groups = _groups(graph, hypothesis, np.asarray(discovery.tokens))
  rng = np.random.default_rng(seed)
  count = len(discovery.tokens)
  values, chance = [], []
  with tqdm.tqdm(total=samples * nodes, unit='node', disable=not progress) as bar:
    tree = _Tree(discovery, hypothesis.circuit, groups, rng, bar)
    for _ in range(samples):
      logits = tree.compute(LOGITS, np.arange(count))
      values.append(float(discovery.metric(logits, {})))
      others = discovery.base.logits[rng.integers(count, size=count)]
      chance.append(float(discovery.metric(others, {})))
  clean = float(discovery.metric(discovery.base.logits, {}))
  return Scrubbed(np.array(values), clean, np.array(chance), nodes)


def tree_sizes(circuit: Circuit) -> dict[str, int]:
  """How many nodes are computed to compute each: it and its trees."""
  graph = circuit.graph
  sizes: dict[str, int] = {}
  for node in graph.nodes:
    reads = list(graph.inputs_of(node))
    times = circuit.edges[reads].sum(0)
    used = np.flatnonzero(times)
    sizes[node] = 1 + sum(int(times[s]) * sizes[graph.senders[s]] for s in used)
  return sizes


def _groups(
  graph: Graph, hypothesis: Hypothesis, tokens: Int[np.ndarray, 'N T']
) -> dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]]:
  """For each feature, a function that draws inputs which agree with those given."""
  draws = {}
  for name, feature in hypothesis.features.items():
    if '->' in name:
      graph.edge(name)
    else:
      graph.sender(name)
    labels = np.asarray(feature(tokens) if callable(feature) else feature)
    if labels.ndim not in (1, 2) or len(labels) != len(tokens):
      raise ValueError(
        f'scrub: the feature of {name} has shape {labels.shape}; give labels [N] or '
        f'[N, n] for the N = {len(tokens)} inputs.'
      )
    _, group = np.unique(labels, axis=0, return_inverse=True)
    draws[name] = _draw_alike(group.reshape(-1))
  return draws


def _draw_alike(
  group: Int[np.ndarray, ' N'],
) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
  members = np.argsort(group, kind='stable')
  sizes = np.bincount(group)
  first = np.cumsum(sizes) - sizes

  def draw(index: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    own = group[index]
    return members[first[own] + rng.integers(sizes[own])]

  return draw


class _Tree:
  """Computes nodes on inputs, each important input of a node on inputs like them."""

  def __init__(self, discovery: Discovery, circuit: Circuit, groups, rng, bar):
    self._discovery = discovery
    self._graph = discovery.graph
    self._circuit = circuit
    self._groups = groups
    self._rng = rng
    self._bar = bar

  def compute(self, node: str, index: np.ndarray) -> Array:
    """What a node writes `[N, T, D]`, or the logits, on the inputs at `index`."""
    self._bar.update()
    base = self._discovery.base
    if node == INPUT:
      return base.senders[0][index]
    # One other input for all that is said not to matter (as in the paper).
    other = self._rng.integers(len(index), size=len(index))
    reads = self._graph.inputs_of(node)
    if node != LOGITS and not self._circuit.edges[list(reads)].any():
      return base.senders[self._graph.sender(node)][other]
    return self._apply(node, [self._read(r, index, other) for r in reads], other)

  def _read(self, r: int, index: np.ndarray, other: np.ndarray) -> Array:
    """The stream of the other inputs, with what matters computed for these."""
    base, graph = self._discovery.base, self._graph
    stream = _stream(self._discovery, graph.receivers[r])[other]
    for s in np.flatnonzero(self._circuit.edges[r]):
      sender = graph.senders[s]
      alike = self._alike(sender, graph.receivers[r], index)
      stream = stream + self.compute(sender, alike) - base.senders[s][other]
    return stream

  def _alike(self, sender: str, receiver: str, index: np.ndarray) -> np.ndarray:
    for name in (f'{sender}->{receiver}', sender):
      if name in self._groups:
        return self._groups[name](index, self._rng)
    return index

  def _apply(self, node: str, reads: list[Array], other: np.ndarray) -> Array:
    found = self._discovery
    layer = node_layer(self._graph, node)
    given = (found.model, found.params, found.tokens, found.kwargs)
    if node == LOGITS:
      return _logits(*given, reads[0])
    if node.startswith('m'):
      return _mlp(*given, layer, reads[0])
    head = self._graph.sender(node) - self._graph.sender(f'a{layer}.h0')
    rest = found.base.streams[layer][other]
    return _head(*given, layer, head, jnp.stack(reads, 2), rest)


def _stream(discovery: Discovery, receiver: str) -> Float[Array, 'N T D']:
  """What a receiver reads in the clean run."""
  base, graph = discovery.base, discovery.graph
  layer = node_layer(graph, receiver)
  if not receiver.startswith('m') or graph.parallel:
    return base.streams[layer]
  return base.streams[layer + 1] - base.senders[graph.sender(receiver)]


def _parts(model, params, tokens, kwargs, layer):
  options = {k: v for k, v in kwargs.items() if k != 'logit_positions'}
  parts = model.decompose({'params': params}, tokens, **options)
  return parts, jax.tree.map(lambda leaf: leaf[layer], parts.layers)


@functools.partial(jax.jit, static_argnums=0)
def _head(model, params, tokens, kwargs, layer, head, reads, rest):
  """One head; the others, which a norm after attention sees, read `rest`."""
  heads = model.cfg.heads
  parts, here = _parts(model, params, tokens, kwargs, layer)
  each = jnp.repeat(rest[:, :, None], len(QKV) * heads, axis=2)
  at = head + heads * jnp.arange(len(QKV))
  return parts.heads(here, each.at[:, :, at].set(reads))[0][:, :, head]


@functools.partial(jax.jit, static_argnums=0)
def _mlp(model, params, tokens, kwargs, layer, read):
  parts, here = _parts(model, params, tokens, kwargs, layer)
  return parts.mlp(here, read)


@functools.partial(jax.jit, static_argnums=0)
def _logits(model, params, tokens, kwargs, read):
  parts, _ = _parts(model, params, tokens, kwargs, 0)
  return parts.logits(read, kwargs.get('logit_positions'))
