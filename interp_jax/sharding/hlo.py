"""Compiled programs as data: what XLA's text says that each device does.

`jax.stages.Compiled.as_text()` lists computations, and in each its instructions:

    %add.1 = f32[8,128]{1,0:T(8,128)} fusion(%a, %b), kind=kLoop, calls=%fused.1, ...

A `Module` has them by name. What is read is what costs are counted from: opcodes,
shapes (with the memory that an array lies in), operands and attributes.
"""

from collections.abc import Mapping
import dataclasses
import functools
import math
import re

_BYTES = {'pred': 1, 'token': 0, 'opaque': 0}
_ARRAY = re.compile(r'([a-z]\w*)\[([\d,<=]*)\](?:\{([^{}]*)\})?')
_INSTRUCTION = re.compile(r'^\s*(ROOT )?%?([\w.-]+) = (.*)$')
_COMPUTATION = re.compile(r'^(ENTRY )?%?([\w.-]+) \(.*\) -> .*\{$')
_CALLED = re.compile(
  r'(calls|body|condition|to_apply|true_computation|false_computation)=%?([\w.-]+)'
)
_BRANCHES = re.compile(r'branch_computations=\{([^}]*)\}')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_SPACE = re.compile(r'S\((\d+)\)')


@dataclasses.dataclass(frozen=True)
class Shape:
  """An array of a program.

  Attributes:
    dtype: XLA's name of the dtype, e.g. `'bf16'`.
    dims: Its sizes.
    space: The memory it lies in: 0 is the device's main memory, others are on the chip.
  """

  dtype: str
  dims: tuple[int, ...]
  space: int = 0

  @property
  def size(self) -> int:
    """The number of elements."""
    return math.prod(self.dims)

  @property
  def bytes(self) -> int:
    """The bytes of the elements, without padding."""
    bits = re.search(r'\d+', self.dtype)
    each = _BYTES.get(self.dtype, int(bits[0]) / 8 if bits else 4)
    return math.ceil(self.size * each)


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One instruction.

  Attributes:
    name: Its name, unique in its computation.
    opcode: What it does.
    shapes: The arrays that it gives; several for a tuple.
    operands: The names of its operands.
    text: What stands between the parentheses of the operands.
    attributes: What stands behind them.
    is_root: Whether it is its computation's result.
  """

  name: str
  opcode: str
  shapes: tuple[Shape, ...]
  operands: tuple[str, ...]
  text: str
  attributes: str
  is_root: bool

  def called(self, kind: str) -> str | None:
    """The computation that it calls as its `body`, say; None if it calls none."""
    found = (name for key, name in _CALLED.findall(self.attributes) if key == kind)
    return next(found, None)

  @property
  def branches(self) -> tuple[str, ...]:
    """The computations that a conditional chooses from."""
    given = _BRANCHES.search(self.attributes)
    if given:
      return tuple(name.strip().lstrip('%') for name in given[1].split(','))
    either = (self.called('true_computation'), self.called('false_computation'))
    return tuple(name for name in either if name)

  @property
  def trips(self) -> int | None:
    """How often a loop's body is known to run."""
    known = _TRIPS.search(self.attributes)
    return int(known[1]) if known else None

  @property
  def source(self) -> str:
    """What jax calls the operation that it stems from."""
    found = re.search(r'op_name="([^"]*)"', self.attributes)
    return found[1] if found else ''


@dataclasses.dataclass(frozen=True)
class Computation:
  """A list of instructions.

  Attributes:
    name: Its name.
    instructions: By name, in the order of the text.
  """

  name: str
  instructions: Mapping[str, Instruction]

  @functools.cached_property
  def root(self) -> Instruction:
    """The instruction that gives its result."""
    return next(one for one in self.instructions.values() if one.is_root)

  @functools.cached_property
  def parameters(self) -> tuple[Instruction, ...]:
    """The parameters, in the order of the arguments."""
    found = [i for i in self.instructions.values() if i.opcode == 'parameter']
    return tuple(sorted(found, key=lambda one: int(one.text)))

  @functools.cached_property
  def users(self) -> Mapping[str, tuple[Instruction, ...]]:
    """Name → the instructions that read it."""
    out: dict[str, list[Instruction]] = {name: [] for name in self.instructions}
    for one in self.instructions.values():
      for name in dict.fromkeys(one.operands):
        out[name].append(one)
    return {name: tuple(users) for name, users in out.items()}

  def operand_shapes(self, instruction: Instruction) -> tuple[Shape, ...]:
    """The arrays that an instruction reads; those of a tuple one after the other."""
    return sum((self.instructions[n].shapes for n in instruction.operands), ())


@dataclasses.dataclass(frozen=True)
class Module:
  """A compiled program.

  Attributes:
    computations: By name.
    entry: The name of the one that runs.
  """

  computations: Mapping[str, Computation]
  entry: str

  def trip_count(self, loop: Instruction) -> int | None:
    """How often a `while` runs: by its own word, or by its condition; None if unknown.

    A condition is understood if it compares a counter with one constant, as those of
    `lax.scan` and `lax.fori_loop` do, which count from 0.
    """
    if loop.trips is not None:
      return loop.trips
    condition = self.computations[loop.called('condition') or '']
    bounds = self._constants(condition)
    return bounds.pop() if len(bounds) == 1 else None

  def _constants(self, computation: Computation) -> set[int]:
    """The integer constants of a computation and of those that it calls."""
    found = set()
    for one in computation.instructions.values():
      if one.opcode == 'constant' and one.shapes[0].dtype in ('s32', 'u32', 's64'):
        found.add(int(one.text))
      inner = one.called('calls')
      if inner:
        found |= self._constants(self.computations[inner])
    return found


def parse(text: str) -> Module:
  """Reads the text of a compiled program.

  Args:
    text: What `Compiled.as_text()` gives.

  Returns:
    The program.

  Raises:
    ValueError: if it has no entry.
  """
  computations: dict[str, Computation] = {}
  entry, name, body = '', '', {}
  for line in re.sub(r'/\*.*?\*/', '', text).splitlines():
    header = _COMPUTATION.match(line)
    if header:
      name, body = header[2], {}
      entry = name if header[1] else entry
    elif line.startswith('}'):
      computations[name] = Computation(name, body)
    else:
      found = _INSTRUCTION.match(line)
      if found and name:
        body[found[2]] = _instruction(found[2], found[3], bool(found[1]))
  if not entry:
    raise ValueError('The text has no ENTRY: give that of a compiled program.')
  return Module(computations, entry)


def _instruction(name: str, rest: str, is_root: bool) -> Instruction:
  cut = _closing(rest, 0) + 1 if rest.startswith('(') else rest.index(' ')
  shapes, rest = rest[:cut], rest[cut:].lstrip()
  opening = rest.index('(')
  closing = _closing(rest, opening)
  text = rest[opening + 1 : closing]
  return Instruction(
    name,
    rest[:opening],
    tuple(_shapes(shapes)),
    tuple(re.findall(r'%([\w.-]+)', text)),
    text,
    rest[closing + 1 :],
    is_root,
  )


def _closing(text: str, opening: int) -> int:
  """Where the parenthesis that opens there is closed."""
  depth = 0
  for at in range(opening, len(text)):
    depth += {'(': 1, ')': -1}.get(text[at], 0)
    if not depth:
      return at
  raise ValueError(f'A parenthesis is not closed: {text[opening : opening + 80]!r}.')


def _shapes(text: str) -> list[Shape]:
  out = []
  for dtype, dims, layout in _ARRAY.findall(text):
    space = _SPACE.search(layout)
    sizes = tuple(int(n.lstrip('<=')) for n in dims.split(',') if n)
    out.append(Shape(dtype, sizes, int(space[1]) if space else 0))
  return out
