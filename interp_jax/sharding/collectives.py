"""The communication of a compiled program: what is sent, along which mesh axis.

    for one in find_collectives(parse(compiled.as_text()), mesh):
      print(one)  # 2 x all-reduce bf16[3584,32768] over data: 352321536 bytes sent

Which axis a collective runs along is read from its replica groups. That makes the
design of a sharded program something that a test can state: which kinds run along which
axes, and how large they are.
"""

from collections.abc import Iterator
import dataclasses
import math
import re

from jax.sharding import Mesh
import numpy as np

from interp_jax.sharding.hlo import Computation, Instruction, Module, Shape

KINDS = (
  'all-reduce',
  'all-gather',
  'reduce-scatter',
  'all-to-all',
  'ragged-all-to-all',
  'collective-permute',
  'collective-broadcast',
)
# How the TPU's compiler names a sum of which each device keeps its part.
_SCATTERED = 'all-reduce-scatter'


@dataclasses.dataclass(frozen=True)
class Collective:
  """One collective.

  Attributes:
    kind: One of `KINDS`.
    axes: The mesh axes that it runs along.
    shapes: What each device gives.
    group: How many devices take part together.
    times: How often it runs.
    source: What jax calls the operation that it stems from.
  """

  kind: str
  axes: tuple[str, ...]
  shapes: tuple[Shape, ...]
  group: int
  times: int
  source: str

  @property
  def given(self) -> int:
    """Bytes that each device gives."""
    return sum(shape.bytes for shape in self.shapes)

  @property
  def size(self) -> int:
    """Bytes of the whole: of an all-gather, what each device has at the end."""
    return self.given * self.gathers

  @property
  def gathers(self) -> int:
    """How many parts of what is given each device has at the end."""
    return self.group if self.kind == 'all-gather' else 1

  @property
  def sent(self) -> float:
    """Bytes that each device sends, all times together, if they go around a ring."""
    others = self.group - 1
    share = {
      'all-gather': others,
      'all-reduce': 2 * others / self.group,
      'reduce-scatter': others / self.group,
      # A quarter of the way around the ring, on average.
      'all-to-all': self.group / 4,
      'ragged-all-to-all': self.group / 4,
    }.get(self.kind, 1)
    return float(self.times * self.given * share)

  def __str__(self) -> str:
    shapes = ' '.join(f'{s.dtype}[{",".join(map(str, s.dims))}]' for s in self.shapes)
    along = ' x '.join(self.axes) or 'nothing'
    what = f'{self.times} x {self.kind} {shapes} over {along}'
    return f'{what}: {self.sent:.0f} bytes sent'


def find_collectives(module: Module, mesh: Mesh) -> list[Collective]:
  """The collectives of a program, of all branches, in the order of the text.

  Args:
    module: The program.
    mesh: The mesh that it was compiled for.

  Returns:
    Those that send something: collectives of one device are left out.
  """
  found = (
    _read(computation, one, times, mesh)
    for computation, one, times in _walk(module, module.entry, 1)
  )
  return [one for one in found if one.group > 1]


def _walk(
  module: Module, name: str, times: int
) -> Iterator[tuple[Computation, Instruction, int]]:
  """Each collective, and how often it runs; loops of unknown length count once."""
  computation = module.computations[name]
  for one in computation.instructions.values():
    kind = one.opcode.removesuffix('-start')
    if kind in KINDS:
      yield computation, one, times
    elif one.opcode == 'while':
      count = module.trip_count(one)
      yield from _walk(module, one.called('body') or '', times * (count or 1))
    elif one.opcode == 'conditional':
      for branch in one.branches:
        yield from _walk(module, branch, times)
    else:
      inner = one.called('calls') or (one.opcode == 'call' and one.called('to_apply'))
      if inner:
        yield from _walk(module, inner, times)


def _read(
  computation: Computation, one: Instruction, times: int, mesh: Mesh
) -> Collective:
  kind = one.opcode.removesuffix('-start')
  if computation.name.startswith(_SCATTERED) and kind == 'all-reduce':
    kind = 'reduce-scatter'
  groups = replica_groups(one.attributes, mesh.size)
  coordinates = np.array(np.unravel_index(groups, mesh.devices.shape))
  varies = (coordinates != coordinates[..., :1]).any((1, 2))
  axes = tuple(np.array(mesh.axis_names)[varies].tolist())
  return Collective(
    kind,
    axes,
    computation.operand_shapes(one),
    groups.shape[1],
    times,
    one.source,
  )


def replica_groups(attributes: str, devices: int) -> np.ndarray:
  """Which devices work together, `[groups, members]`, by their place in the mesh.

  XLA has four ways to write it: lists, an array that counts up (`[4,2]<=[8]`, maybe
  transposed), axes of a mesh (`mesh['a'=4,'b'=2] {'a'}`), and pairs of a source and a
  target.

  Args:
    attributes: What stands behind the operands of a collective.
    devices: How many there are; all of them are one group where none are named.

  Raises:
    ValueError: if it is written in another way.
  """
  pairs = re.search(r'source_target_pairs=(\{\{.*?\}\})', attributes)
  if pairs:
    return _lists(pairs[1])
  found = re.search(
    r'replica_groups=(mesh.*?\{.*?\}|\S.*?(?=, [a-z_]+=|$))', attributes
  )
  text = found[1] if found else '{}'
  if text == '{}':
    return np.arange(devices)[None]
  if text.startswith('{'):
    return _lists(text)
  if text.startswith('['):
    return _counted(text)
  if text.startswith('mesh['):
    return _of_mesh(text)
  raise ValueError(f'Replica groups of an unknown form: {text!r}.')


def _lists(text: str) -> np.ndarray:
  rows = re.findall(r'\{([\d,]+)\}', text)
  return np.array([_numbers(row) for row in rows])


def _counted(text: str) -> np.ndarray:
  found = re.match(r'\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?', text)
  if found is None:
    raise ValueError(f'Replica groups of an unknown form: {text!r}.')
  shape, sizes = _numbers(found[1]), _numbers(found[2])
  ids = np.arange(math.prod(sizes)).reshape(sizes)
  return ids.transpose(_numbers(found[3]) if found[3] else None).reshape(shape)


def _numbers(text: str) -> tuple[int, ...]:
  return tuple(int(n) for n in text.split(','))


def _of_mesh(text: str) -> np.ndarray:
  """`mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'a'}`: the members differ in a."""
  axes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", text)}
  named = text.rpartition('{')[2]
  inside = re.findall(r"'(\w+)'", named)
  if ':' in named or not set(inside) <= set(axes):
    raise ValueError(f'Replica groups of an unknown form: {text!r}.')
  ids = np.arange(math.prod(axes.values()))
  moved = re.search(r'device_ids=\(\[([\d,]+)\]T\(([\d,]+)\)\)', text)
  if moved:
    ids = ids.reshape(_numbers(moved[1])).transpose(_numbers(moved[2]))
  ids = ids.reshape(tuple(axes.values()))
  names = list(axes)
  outside = [names.index(name) for name in names if name not in inside]
  order = outside + [names.index(name) for name in inside]
  return ids.transpose(order).reshape(-1, math.prod(axes[name] for name in inside))
