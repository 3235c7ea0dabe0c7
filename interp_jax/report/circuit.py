"""A circuit as a picture: its nodes layer by layer, from the input up to logits."""

from collections.abc import Iterable, Mapping, Sequence
import re
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path
import numpy as np

from interp_jax.report.palette import INK, RULE, SERIES
from interp_jax.report.svg import tooltip
from interp_jax.report.types import Number

# An edge: who writes, who reads (a head's query, key or value as 'a1.h0<q>'), a weight.
Edge = tuple[str, str, Number]

_HEAD = re.compile(r'a(\d+)\.h(\d+)$')
_MLP = re.compile(r'm(\d+)$')
_KINDS = {'q': 'query', 'k': 'key', 'v': 'value', '': 'stream'}
_COLOURS = dict(zip(_KINDS, SERIES, strict=False))
_BOX = (1.18, 0.5)  # Width and height of a node.
_GAP = (1.62, 1.18)  # Distance of nodes in a row, and of rows.
_PORTS = {'q': -0.36, 'k': 0.0, 'v': 0.36, '': 0.0}  # Where an edge ends.


def circuit_picture(
  edges: Iterable[Edge],
  *,
  notes: Mapping[str, str] | None = None,
  weight_name: str = 'score',
) -> Figure:
  """Nodes as boxes by layer, edges as curves, thicker for a larger weight.

  Edges into a head end at its query, key or value, and have that colour. Nodes without
  edges are left out.

  Args:
    edges: The edges, `(sender, receiver, weight)`, named as in EAP-IG: 'input', 'a0.h1'
      or 'm0'; 'a1.h0<q>', 'm1' or 'logits'. The size of a weight counts, not its sign.
    notes: Node → a few words to write under its name: what it is thought to do.
    weight_name: What the weight is; it is in the tooltips.

  Returns:
    The figure.

  Raises:
    ValueError: when there is no edge, or a name is none of a node.
  """
  edges = [(sender, receiver, float(weight)) for sender, receiver, weight in edges]
  if not edges:
    raise ValueError('circuit_picture was given no edges; give at least one')
  places = _places(edges)
  paths = {(s, r): _path(places[s], places[_node(r)], r) for s, r, _ in edges}
  left, right, top = _extent(places, paths)
  figure = Figure(
    (max(4.2, 0.86 * (right - left)), 0.86 * (top + 1.6)), layout='constrained'
  )
  axes = figure.add_subplot()
  axes.set(xlim=(left, right), ylim=(-0.5, top + 0.5))
  axes.set_axis_off()
  largest = max(abs(weight) for _, _, weight in edges) or 1.0
  for sender, receiver, weight in sorted(edges, key=lambda edge: abs(edge[2])):
    text = f'{sender} → {receiver}: {weight_name} {weight:+.3g}'
    path, share = paths[sender, receiver], abs(weight) / largest
    _draw_edge(axes, path, _port(receiver), share, text)
  for node, place in places.items():
    _draw_node(axes, node, place, (notes or {}).get(node, ''))
  _legend(figure, {_port(receiver) for _, receiver, _ in edges})
  return figure


def _node(receiver: str) -> str:
  return receiver.partition('<')[0]


def _port(receiver: str) -> str:
  port = receiver.partition('<')[2].rstrip('>')
  if port not in _KINDS:
    raise ValueError(f'{receiver!r} is no input of a head; heads have <q>, <k> and <v>')
  return port


def _row(node: str) -> float:
  """Height of a node: layers hold a row of heads, and the MLP above."""
  if node in ('input', 'logits'):
    return -1.0 if node == 'input' else np.inf
  for pattern, half in ((_HEAD, 0.0), (_MLP, 0.5)):
    if found := pattern.match(node):
      return int(found[1]) + half
  raise ValueError(
    f"{node!r} is no node; they are named 'input', 'a0.h1', 'm0' and 'logits'"
  )


def _places(edges: Sequence[Edge]) -> dict[str, tuple[float, float]]:
  """Where each node stands: rows without gaps, each ordered by what it reads."""
  nodes = {sender for sender, _, _ in edges} | {_node(r) for _, r, _ in edges}
  rows: dict[float, list[str]] = {}
  for node in sorted(nodes):
    rows.setdefault(_row(node), []).append(node)
  places: dict[str, tuple[float, float]] = {}
  for height, row in enumerate(sorted(rows)):
    below = {node: _mean_below(node, edges, places) for node in rows[row]}
    ordered = sorted(rows[row], key=lambda node: (below[node], node))
    for i, node in enumerate(ordered):
      across = (i - (len(ordered) - 1) / 2) * _GAP[0]
      places[node] = (across, height * _GAP[1])
  return places


def _mean_below(node: str, edges: Sequence[Edge], places: Mapping[str, Any]) -> float:
  across = [places[s][0] for s, r, _ in edges if _node(r) == node and s in places]
  return float(np.mean(across)) if across else 0.0


def _path(place: tuple[float, float], to: tuple[float, float], receiver: str) -> Path:
  """The curve of an edge; one that passes over rows bends outwards, past the boxes."""
  port = _PORTS[_port(receiver)]
  rows = round((to[1] - place[1]) / _GAP[1])
  side = 1.0 if place[0] + to[0] + 2 * port >= 0 else -1.0
  bend = side * (rows > 1) * (1.1 + 0.25 * (rows - 2))
  x, y = place[0] + side * min(0.4, 0.13 * (rows - 1)), place[1] + _BOX[1] / 2
  to_x, to_y = to[0] + port, to[1] - _BOX[1] / 2
  rise = 0.4 * (to_y - y)
  return Path(
    [(x, y), (x + bend, y + rise), (to_x + bend, to_y - rise), (to_x, to_y)],
    [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4],
  )


def _extent(
  places: Mapping[str, tuple[float, float]], paths: Mapping[Any, Path]
) -> tuple[float, float, float]:
  """Left, right and top of what is drawn; boxes and the middles of curves."""
  across = [x + side * _BOX[0] / 2 for x, _ in places.values() for side in (-1, 1)]
  across += [_middle(path) for path in paths.values()]
  top = max(y for _, y in places.values())
  return min(across) - 0.2, max(across) + 0.2, top


def _middle(path: Path) -> float:
  """Where a cubic curve is half-way, across."""
  return float(np.dot((1, 3, 3, 1), np.asarray(path.vertices)[:, 0]) / 8)


def _draw_edge(axes: Axes, path: Path, port: str, share: float, text: str) -> None:
  curve = PathPatch(
    path,
    facecolor='none',
    edgecolor=_COLOURS[port],
    linewidth=1.0 + 4.0 * share,
    alpha=0.85,
    capstyle='round',
  )
  curve.set_gid(tooltip(text))
  axes.add_patch(curve)


def _draw_node(axes: Axes, node: str, place: tuple[float, float], note: str) -> None:
  x, y = place
  corner = (x - _BOX[0] / 2, y - _BOX[1] / 2)
  axes.add_patch(
    FancyBboxPatch(
      corner,
      *_BOX,
      boxstyle='round,pad=0,rounding_size=0.12',
      facecolor='#f3f4f5',
      edgecolor=RULE,
      linewidth=1.2,
      zorder=3,
    )
  )
  # The box stays light on a dark page, so its letters must stay dark.
  style = {'ha': 'center', 'va': 'center', 'zorder': 4, 'color': '#141414'}
  axes.text(x, y + (0.09 if note else 0), _title(node), fontsize=10.5, **style)
  if note:
    axes.text(x, y - 0.12, note, fontsize=7, parse_math=False, **style)


def _title(node: str) -> str:
  if found := _HEAD.match(node):
    return f'head {found[1]}.{found[2]}'
  if found := _MLP.match(node):
    return f'MLP {found[1]}'
  return node


def _legend(figure: Figure, ports: set[str]) -> None:
  lines = [
    Line2D([], [], color=_COLOURS[port], linewidth=3, label=name)
    for port, name in _KINDS.items()
    if port in ports
  ]
  legend = figure.legend(
    handles=lines,
    loc='outside lower center',
    ncols=len(lines),
    frameon=False,
    fontsize=9,
    labelcolor=INK,
    title='read as',
    title_fontproperties={'size': 9},
  )
  legend.get_title().set_color(INK)
