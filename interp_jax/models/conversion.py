"""Other libraries' tensors and ours, row by row, in both directions.

A row says where a parameter lies in a file and how its axes stand there:

    Row('h.{l}.attn.c_proj.weight', 'blocks/attn/W_O', '(h k) d -> h k d')

Left of the arrow are the axes in the file, right those of one layer of ours; axes in
brackets are one axis. A tensor of several parameters has an axis `n` along which they
follow each other; its length is each parameter's own:

    Row('h.{l}.attn.c_attn.weight',
        ('blocks/attn/W_Q', 'blocks/attn/W_K', 'blocks/attn/W_V'), 'd (n k) -> n d k')

Nothing is computed and nothing is lost, so that the same row reads and writes.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
import math
import re

from jaxtyping import Shaped
import numpy as np

from interp_jax.models.config import TransformerConfig

_PART = 'n'


@dataclasses.dataclass(frozen=True)
class Row:
  """One tensor of a file and the parameters in it.

  Attributes:
    source: Its name; `{l}` stands for the layer, `{e}` for the expert. Empty for a
      parameter that files leave out and that is `plus` everywhere.
    targets: Path of the parameter, keys joined by `/`, or of several.
    axes: How the axes stand in the file and here.
    plus: What is added on reading (Gemma stores gains less one).
    skip: How many leading rows of the file's tensor nothing reads (OPT's positions).
  """

  source: str
  targets: str | tuple[str, ...]
  axes: str
  plus: float = 0.0
  skip: int = 0

  @property
  def paths(self) -> tuple[str, ...]:
    """The targets as a tuple."""
    return (self.targets,) if isinstance(self.targets, str) else self.targets


@dataclasses.dataclass(frozen=True)
class Part:
  """Where one parameter of a row lies in the file's tensor, for one layer.

  Attributes:
    row: The row.
    inner: Lengths of the file's axes one by one, `n` at its own length.
    start: Where the parameter begins along `n`.
    length: How long the whole `n` is.
    shape: The parameter's shape, of one layer (and one expert).
  """

  row: Row
  inner: dict[str, int]
  start: int
  length: int
  shape: tuple[int, ...]

  def take(self, tensor: Shaped[np.ndarray, '...']) -> Shaped[np.ndarray, '...']:
    """The parameter, from the file's tensor; a view where that is possible."""
    left, right = _sides(self.row.axes)
    sizes = self.inner | {_PART: self.length}
    names = [*itertools.chain(*left)]
    view = tensor[self.row.skip :].reshape([sizes[name] for name in names])
    if _PART in names:
      at = (slice(None),) * names.index(_PART)
      view = view[*at, self.start : self.start + self.inner[_PART]]
    order = [names.index(name) for name in itertools.chain(*right)]
    return view.transpose(order).reshape(self.shape)

  def put(
    self, value: Shaped[np.ndarray, '...'], tensor: Shaped[np.ndarray, '...']
  ) -> None:
    """Writes the parameter into the file's tensor: the reverse of `take`."""
    left, right = _sides(self.row.axes)
    sizes = self.inner | {_PART: self.length}
    names, ours = [*itertools.chain(*left)], [*itertools.chain(*right)]
    view = tensor[self.row.skip :].reshape([sizes[name] for name in names])
    if _PART in names:
      at = (slice(None),) * names.index(_PART)
      view = view[*at, self.start : self.start + self.inner[_PART]]
    value = value.reshape([self.inner[name] for name in ours])
    view[...] = value.transpose([ours.index(name) for name in names])


@dataclasses.dataclass(frozen=True)
class Plan:
  """How the tensors of a file and a model's parameters correspond.

  Attributes:
    parts: Path of each parameter → where it lies. Several, if it lies in several rows.
    shapes: Source name, placeholders and all → shape in the file.
  """

  parts: Mapping[str, Part]
  shapes: Mapping[str, tuple[int, ...]]


def make_plan(
  rows: Sequence[Row], shapes: Mapping[str, tuple[int, ...]], cfg: TransformerConfig
) -> Plan:
  """Works out the sizes of all axes.

  Args:
    rows: The family's rows.
    shapes: Path → shape of every parameter of the model.
    cfg: The model's config.

  Returns:
    The plan.

  Raises:
    ValueError: if the rows do not cover the parameters exactly; a mistake of the
      family's page.
  """
  parts: dict[str, Part] = {}
  sources: dict[str, tuple[int, ...]] = {}
  for row in rows:
    made, shape = _row_parts(row, shapes, cfg)
    parts |= made
    if row.source:
      sources[row.source] = shape
  if set(parts) != set(shapes):
    raise ValueError(
      f'Rows are missing for {sorted(set(shapes) - set(parts))}, and beyond the '
      f'parameters are {sorted(set(parts) - set(shapes))}.'
    )
  return Plan(parts, sources)


def stack_axes(path: str) -> int:
  """How many leading axes of a parameter are not in one tensor of a file.

  Args:
    path: The parameter's path.

  Returns:
    Two for experts' weights (`L` and `E`), one in the other layers, none elsewhere.
  """
  if re.search(r'(^|/)experts/W_(in|gate|out)$', path):
    return 2
  return int(path.startswith('blocks/'))


def source_name(row: Row, index: Sequence[int]) -> str:
  """The tensor's name of one layer (and expert)."""
  return row.source.format(**dict(zip('le', index, strict=False)))


def _row_parts(
  row: Row, shapes: Mapping[str, tuple[int, ...]], cfg: TransformerConfig
) -> tuple[dict[str, Part], tuple[int, ...]]:
  missing = [path for path in row.paths if path not in shapes]
  if missing:
    raise ValueError(f'{row.source}: the model has no parameter {", ".join(missing)}.')
  own = {path: shapes[path][stack_axes(path) :] for path in row.paths}
  left, right = _sides(row.axes)
  inner = {path: _solve(right, shape, cfg) for path, shape in own.items()}
  length = sum(sizes.get(_PART, 1) for sizes in inner.values())
  parts, start = {}, 0
  for path, sizes in inner.items():
    parts[path] = Part(row, sizes, start, length, own[path])
    start += sizes.get(_PART, 1)
  sizes = inner[row.paths[0]] | {_PART: length}
  shape = [math.prod(sizes[name] for name in group) for group in left]
  return parts, (shape[0] + row.skip, *shape[1:])


def _solve(
  groups: Sequence[Sequence[str]], shape: tuple[int, ...], cfg: TransformerConfig
) -> dict[str, int]:
  """The length of every axis, from a parameter's shape; `g` is the config's."""
  sizes = {'g': cfg.kv_heads}
  for group, total in zip(groups, shape, strict=True):
    known = math.prod(sizes.get(name, 1) for name in group)
    for name in group:
      sizes.setdefault(name, total // known)
  return sizes


def _sides(axes: str) -> tuple[list[list[str]], list[list[str]]]:
  """The axes of both sides, grouped as the brackets say."""

  def groups(side: str) -> list[list[str]]:
    found = re.findall(r'\(([^)]*)\)|(\w+)', side)
    return [inside.split() if inside else [name] for inside, name in found]

  left, right = axes.split('->')
  return groups(left), groups(right)
