"""The residual graph: who writes to the stream, who reads it, and the edges between.

*Senders* write to the residual stream: `input` (everything before the first layer),
the heads `a{l}.h{h}` and the MLPs `m{l}`. *Receivers* read it: the query, key and value
input of each head, `a{l}.h{h}<q>` and so on, the MLPs, and `logits`. A receiver reads
the sum of what the senders before it wrote, so there is an edge to it from each of
them. Names and order are those of EAP-IG and of MIB's circuits (Hanna et al. 2024,
arXiv:2403.17806; Mueller et al. 2025, arXiv:2504.13151).
"""

from collections.abc import Iterable
import dataclasses
import difflib
import functools
from typing import Any

from jaxtyping import Bool
import numpy as np

from interp_jax.core import unknown

INPUT, LOGITS = 'input', 'logits'
QKV = 'qkv'


@dataclasses.dataclass(frozen=True)
class Graph:
  """The edges of a model's residual graph; arrays over them are `[R, S]`.

  Models with grouped queries have a key and a value input for every *query* head, as
  in EAP-IG: an edge `m0->a1.h3<k>` is into the keys as head 3 sees them, though other
  heads of its group share the weights.

  Attributes:
    layers: Number of layers `L`.
    heads: Number of query heads `H` of each.
    width: Width of the residual stream `D`.
    parallel: Whether the MLP reads the stream before the attention of its layer.
    attn_only: Whether there are no MLPs.
  """

  layers: int
  heads: int
  width: int
  parallel: bool = False
  attn_only: bool = False

  @property
  def senders_per_layer(self) -> int:
    """The heads, and the MLP if there is one."""
    return self.heads + (not self.attn_only)

  @property
  def receivers_per_layer(self) -> int:
    """Three inputs of each head, and the MLP's if there is one."""
    return 3 * self.heads + (not self.attn_only)

  @functools.cached_property
  def senders(self) -> tuple[str, ...]:
    """Names along the axis `S`: input; each layer's heads, then its MLP."""
    names = [INPUT]
    for layer in range(self.layers):
      names += [f'a{layer}.h{head}' for head in range(self.heads)]
      names += [] if self.attn_only else [f'm{layer}']
    return tuple(names)

  @functools.cached_property
  def receivers(self) -> tuple[str, ...]:
    """Names along `R`: each layer's queries, keys, values, then its MLP; logits."""
    names = []
    for layer in range(self.layers):
      names += [f'a{layer}.h{h}<{kind}>' for kind in QKV for h in range(self.heads)]
      names += [] if self.attn_only else [f'm{layer}']
    return (*names, LOGITS)

  @property
  def nodes(self) -> tuple[str, ...]:
    """All nodes: the senders and logits."""
    return (*self.senders, LOGITS)

  @functools.cached_property
  def sender_layers(self) -> np.ndarray:
    """The layer of each sender, `[S]`; -1 of the input."""
    return np.array([node_layer(self, name) for name in self.senders])

  @functools.cached_property
  def sender_groups(self) -> np.ndarray:
    """The group of each sender, `[S]`; those of a group do not read each other.

    The groups, in the order in which they write: the input, 0; of layer l, the heads,
    `2 l + 1`, and the MLP, `2 l + 2`.
    """
    mlp = np.array([name.startswith('m') for name in self.senders])
    return np.where(self.sender_layers < 0, 0, 2 * self.sender_layers + 1 + mlp)

  @functools.cached_property
  def receiver_layers(self) -> np.ndarray:
    """The layer of each receiver, `[R]`; `layers` of logits."""
    return np.array([node_layer(self, name) for name in self.receivers])

  @functools.cached_property
  def edges(self) -> Bool[np.ndarray, 'R S']:
    """Whether there is an edge: whether the sender writes before the receiver reads."""
    mask = self.sender_layers[None] < self.receiver_layers[:, None]
    if not (self.parallel or self.attn_only):
      for layer in range(self.layers):
        first = self.sender(f'a{layer}.h0')
        mask[self.receiver(f'm{layer}'), first : first + self.heads] = True
    mask.setflags(write=False)
    return mask

  @property
  def shape(self) -> tuple[int, int]:
    """The numbers of receivers and senders, `R, S`."""
    return len(self.receivers), len(self.senders)

  @functools.cached_property
  def edge_names(self) -> tuple[str, ...]:
    """Names of the edges, `sender->receiver`, row by row of `edges`."""
    return tuple(
      f'{self.senders[s]}->{self.receivers[r]}' for r, s in np.argwhere(self.edges)
    )

  def sender(self, name: str) -> int:
    """Where a sender stands along `S`.

    Raises:
      ValueError: if there is no such sender.
    """
    return _find(name, self._sender_index, 'sender')

  def receiver(self, name: str) -> int:
    """Where a receiver stands along `R`.

    Raises:
      ValueError: if there is no such receiver.
    """
    return _find(name, self._receiver_index, 'receiver')

  def edge(self, name: str) -> tuple[int, int]:
    """Where an edge stands in `[R, S]`.

    Args:
      name: `sender->receiver`, e.g. `'m0->a1.h3<q>'`.

    Raises:
      ValueError: if there is no such edge.
    """
    sender, arrow, receiver = name.partition('->')
    if not arrow:
      raise ValueError(f"An edge is named 'sender->receiver'; got {name!r}.")
    r, s = self.receiver(receiver), self.sender(sender)
    if not self.edges[r, s]:
      raise ValueError(f'There is no edge {name!r}: {sender} writes after it is read.')
    return r, s

  def select(self, names: Iterable[str]) -> Bool[np.ndarray, 'R S']:
    """A mask that holds at the named edges.

    Raises:
      ValueError: if there is no such edge.
    """
    mask = np.zeros(self.shape, bool)
    for name in names:
      mask[self.edge(name)] = True
    return mask

  def inputs_of(self, node: str) -> tuple[int, ...]:
    """Where the receivers of a node stand along `R`: three of a head, none of input.

    Raises:
      ValueError: if there is no such node.
    """
    if node not in self.nodes:
      raise ValueError(unknown('node', node, self.nodes))
    if node == INPUT:
      return ()
    if node.startswith('a'):
      return tuple(self.receiver(f'{node}<{kind}>') for kind in QKV)
    return (self.receiver(node),)

  @functools.cached_property
  def _sender_index(self) -> dict[str, int]:
    return {name: i for i, name in enumerate(self.senders)}

  @functools.cached_property
  def _receiver_index(self) -> dict[str, int]:
    return {name: i for i, name in enumerate(self.receivers)}


def make_graph(cfg: Any) -> Graph:
  """The residual graph of a model.

  Args:
    cfg: A `TransformerConfig`, or anything with the fields `layers`, `heads`, `width`,
      `parallel` and `attn_only`.

  Returns:
    The graph.
  """
  return Graph(
    layers=cfg.layers,
    heads=cfg.heads,
    width=cfg.width,
    parallel=bool(cfg.parallel),
    attn_only=bool(cfg.attn_only),
  )


def node_layer(graph: Graph, name: str) -> int:
  """The layer of a node or receiver; -1 of the input, `graph.layers` of logits."""
  if name in (INPUT, LOGITS):
    return -1 if name == INPUT else graph.layers
  return int(name[1:].partition('.')[0])


def node_of(receiver: str) -> str:
  """The node that a receiver belongs to: `a1.h3` of `a1.h3<q>`."""
  return receiver.partition('<')[0]


def _find(name: str, index: dict[str, int], kind: str) -> int:
  if name in index:
    return index[name]
  close = difflib.get_close_matches(str(name), index, n=1)
  hint = f' Did you mean {close[0]!r}?' if close else ''
  names = list(index)  # Too many to list, so some show what they are like.
  raise ValueError(
    f'Unknown {kind} {name!r}.{hint} There are {len(names)}: {names[0]}, {names[1]}, '
    f'..., {names[-2]}, {names[-1]}.'
  )
