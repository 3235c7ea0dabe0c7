"""Graphs on disk: the JSON of EAP-IG, which is what MIB's circuit track takes.

`cfg` (`n_layers`, `n_heads`, `parallel_attn_mlp`, `d_model`), `nodes` (name →
`in_graph`) and `edges` (name → `in_graph`, `score`, or one of them). MIB takes either a
score for every edge or membership in circuits of several sizes.
"""

from collections.abc import Mapping
import dataclasses
import json
import math
import os
from typing import Any

from jaxtyping import Bool, Float
import numpy as np

from interp_jax.circuits.graph import LOGITS, Graph, node_of

_FIELDS = {
  'n_layers': 'layers',
  'n_heads': 'heads',
  'd_model': 'width',
  'parallel_attn_mlp': 'parallel',
}


@dataclasses.dataclass(frozen=True)
class GraphFile:
  """What a file says.

  Attributes:
    graph: The graph.
    edges: Whether each edge is in the circuit, `[R, S]`; None if it does not say.
    scores: The score of each edge, `[R, S]`; None if it has none.
  """

  graph: Graph
  edges: Bool[np.ndarray, 'R S'] | None
  scores: Float[np.ndarray, 'R S'] | None


def write_graph(
  path: str | os.PathLike,
  graph: Graph,
  edges: Bool[np.ndarray, 'R S'],
  scores: Float[np.ndarray, 'R S'] | None = None,
) -> None:
  """Writes a graph's edges.

  Args:
    path: The file.
    graph: The graph.
    edges: Whether each edge is in the circuit.
    scores: The scores; without them, 1 for an edge of the circuit and 0 for others, as
      EAP-IG wants a number.

  Raises:
    ValueError: if a score is not a finite number, which JSON has no word for.
  """
  scores = edges.astype(float) if scores is None else scores
  if not np.isfinite(scores[graph.edges]).all():
    bad = int(np.sum(~np.isfinite(scores[graph.edges])))
    raise ValueError(f'{bad} edges have a score that is NaN or infinite.')
  cfg = {name: getattr(graph, field) for name, field in _FIELDS.items()}
  if graph.attn_only:
    cfg['attn_only'] = True
  places = np.argwhere(edges)
  used = {graph.senders[s] for s in places[:, 1]}
  used |= {node_of(graph.receivers[r]) for r in places[:, 0]}
  nodes = {name: {'in_graph': name in used} for name in graph.senders}
  nodes[LOGITS] = {'in_graph': True}
  listed = {
    name: {'score': float(scores[r, s]), 'in_graph': bool(edges[r, s])}
    for name, (r, s) in zip(graph.edge_names, np.argwhere(graph.edges), strict=True)
  }
  with open(path, 'w', encoding='utf-8') as file:
    json.dump({'cfg': cfg, 'nodes': nodes, 'edges': listed}, file, allow_nan=False)


def read_graph(path: str | os.PathLike) -> GraphFile:
  """Reads a graph; edges that are not listed score 0 and are not in the circuit.

  Edges of a node that is listed as outside of the circuit are outside, too.

  Raises:
    ValueError: if the file is no such JSON; it says where.
  """
  where = os.fspath(path)
  try:
    with open(path, encoding='utf-8') as file:
      content = json.load(file)
  except json.JSONDecodeError as error:
    raise ValueError(f'{where} is no JSON: {error}.') from error
  for key in ('cfg', 'nodes', 'edges'):
    if not isinstance(content, Mapping) or not isinstance(content.get(key), Mapping):
      raise ValueError(f'{where} has no object {key!r}: it is no graph of EAP-IG.')
  graph = _graph(content['cfg'], content['edges'], where)
  out = _outside(graph, content['nodes'], where)
  known = {name: graph.edge(name) for name in graph.edge_names}
  edges, scores = np.zeros(graph.shape, bool), np.zeros(graph.shape)
  found = set()
  for name, entry in content['edges'].items():
    if name not in known:
      raise ValueError(f'{where}: {_no_such_edge(graph, name)}')
    if not isinstance(entry, Mapping) or not {'in_graph', 'score'} & entry.keys():
      raise ValueError(f'{where}: edge {name!r} has neither in_graph nor score.')
    if 'in_graph' in entry:
      edges[known[name]] = _flag(entry['in_graph'], f'{where}: edge {name!r}')
    if 'score' in entry:
      scores[known[name]] = _number(entry['score'], f'{where}: edge {name!r}')
    found |= entry.keys()
  edges[:, [name in out for name in graph.senders]] = False
  edges[[node_of(name) in out for name in graph.receivers]] = False
  return GraphFile(
    graph,
    edges if 'in_graph' in found else None,
    scores if 'score' in found else None,
  )


def _graph(cfg: Mapping[str, Any], edges: Mapping[str, Any], where: str) -> Graph:
  fields = {}
  for name, field in _FIELDS.items():
    if name not in cfg:
      raise ValueError(f'{where}: cfg has no {name!r}; it needs {", ".join(_FIELDS)}.')
    fields[field] = cfg[name]
  parallel = _flag(fields.pop('parallel'), f'{where}: cfg.parallel_attn_mlp')
  for name, field in _FIELDS.items():
    if field in fields and (type(fields[field]) is not int or fields[field] < 1):
      raise ValueError(f'{where}: cfg.{name} is {fields[field]!r}, not a count.')
  attn_only = _flag(cfg.get('attn_only', False), f'{where}: cfg.attn_only')
  return Graph(**fields, parallel=parallel, attn_only=attn_only)


def _outside(graph: Graph, nodes: Mapping[str, Any], where: str) -> set[str]:
  """The nodes that are listed as outside of the circuit."""
  out = set()
  for name, entry in nodes.items():
    if name not in graph.nodes:
      raise ValueError(f'{where}: a graph of this cfg has no node {name!r}.')
    if not isinstance(entry, Mapping) or 'in_graph' not in entry:
      raise ValueError(f'{where}: node {name!r} has no in_graph.')
    if 'neurons' in entry:
      raise ValueError(
        f'{where}: node {name!r} lists neurons; circuits here are made of whole nodes.'
      )
    if not _flag(entry['in_graph'], f'{where}: node {name!r}'):
      out.add(name)
  return out - {LOGITS}


def _no_such_edge(graph: Graph, name: str) -> str:
  try:
    graph.edge(name)
  except ValueError as error:
    return str(error)
  return f'There is no edge {name!r}.'


def _flag(value: Any, what: str) -> bool:
  if not isinstance(value, bool):
    raise ValueError(f'{what} is {value!r}, neither true nor false.')
  return value


def _number(value: Any, what: str) -> float:
  if isinstance(value, bool) or not isinstance(value, int | float):
    raise ValueError(f'{what} has the score {value!r}, which is no number.')
  if not math.isfinite(value):
    raise ValueError(f'{what} has the score {value}, which is not finite.')
  return float(value)
