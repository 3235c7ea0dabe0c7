"""What a compiled program costs a device: matrix products and traffic of its memory.

Counted from the instructions, each as often as it runs: XLA's own `cost_analysis`
counts the body of a loop once. Of a conditional's branches the one with most products
counts, and of several such the one with most traffic.

- *flops* are those of matrix products and convolutions, two for a multiplication and an
  addition. What is done one by one is left out: a TPU has other units for it.
- *bytes* are what instructions read from and write to the device's main memory, after
  fusion. Arrays that the compiler keeps on the chip are free, a slice costs what it
  takes, and an update in place what it writes.
"""

from collections.abc import Sequence
import dataclasses
import functools
import math
import re

from interp_jax.sharding.hlo import Computation, Instruction, Module, Shape

# Moves no data.
_FREE = ('parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast', 'iota')
_FREE += ('after-all', 'partition-id', 'replica-id', 'opt-barrier', 'add-dependency')
_SLICES = ('dynamic-slice', 'slice', 'gather')
_MAIN = 0


@dataclasses.dataclass(frozen=True)
class Costs:
  """What a program costs one device.

  Attributes:
    flops: Of matrix products.
    bytes: To and from the main memory.
    unknown_loops: Loops whose length is not known, counted as one pass.
  """

  flops: int = 0
  bytes: int = 0
  unknown_loops: int = 0

  def __add__(self, other: 'Costs') -> 'Costs':
    return Costs(
      self.flops + other.flops,
      self.bytes + other.bytes,
      self.unknown_loops + other.unknown_loops,
    )

  def times(self, count: int) -> 'Costs':
    """The costs of so many passes."""
    return Costs(self.flops * count, self.bytes * count, self.unknown_loops)


def count(module: Module) -> Costs:
  """The costs of a program.

  Args:
    module: The program.
  """
  return _Counter(module).of(module.entry)


class _Counter:
  """Counts each computation once: what is called twice is looked up."""

  def __init__(self, module: Module):
    self.module = module
    self.of = functools.cache(self._of)
    self._products_of = functools.cache(self._all_products)

  def _of(self, name: str) -> Costs:
    computation = self.module.computations[name]
    parts = (self._one(computation, one) for one in computation.instructions.values())
    return sum(parts, Costs())

  def _one(self, computation: Computation, one: Instruction) -> Costs:
    if one.opcode == 'while':
      trips = self.module.trip_count(one)
      body = self.of(one.called('body') or '').times(1 if trips is None else trips)
      return body + Costs(unknown_loops=int(trips is None))
    if one.opcode == 'conditional':
      return max(map(self.of, one.branches), key=lambda c: (c.flops, c.bytes))
    if one.opcode == 'call':
      return self.of(one.called('to_apply') or '')
    if one.opcode == 'async-start':
      return self.of(one.called('calls') or '')
    if one.opcode in _FREE or one.opcode.endswith(('-done', '-update')):
      return Costs()
    return Costs(self.products(computation, one), self._traffic(computation, one))

  def products(self, computation: Computation, one: Instruction) -> int:
    """The flops of the matrix products of an instruction, those fused into it too."""
    if one.opcode == 'convolution':
      return convolution_flops(one, computation.operand_shapes(one))
    if one.opcode == 'dot':
      return dot_flops(one, computation.operand_shapes(one))
    inner = one.called('calls')
    return self._products_of(inner) if inner else 0

  def _all_products(self, name: str) -> int:
    computation = self.module.computations[name]
    return sum(self.products(computation, i) for i in computation.instructions.values())

  def _traffic(self, computation: Computation, one: Instruction) -> int:
    """Bytes that an instruction reads from and writes to the main memory."""
    operands = [computation.instructions[name].shapes for name in one.operands]
    read, written = sum(map(_main, operands)), _main(one.shapes)
    if one.opcode == 'slice-start':  # Gives its operand and the slice.
      return one.shapes[1].bytes + _main(one.shapes[1:2])
    if one.opcode == 'copy-start':  # Gives the copy and its operand.
      return read + _main(one.shapes[:1])
    if one.opcode.endswith('-start'):
      return 2 * read
    if one.opcode in _SLICES:
      return 2 * written
    if one.opcode == 'dynamic-update-slice':
      return 2 * _main(operands[1])
    inner = one.called('calls') if one.opcode == 'fusion' else None
    if inner is None:
      return read + written
    fused = self.module.computations[inner]
    parts = (
      min(_main(shapes), self._read(fused, at)) for at, shapes in enumerate(operands)
    )
    return sum(parts) + self._written(fused, one)

  def _read(self, fused: Computation, at: int) -> int:
    """What a fusion reads of an argument: all of it, or the slices that it takes."""
    parameter = fused.parameters[at]
    whole, total = parameter.shapes[0].bytes, 0
    for user in fused.users[parameter.name]:
      places = [i for i, name in enumerate(user.operands) if name == parameter.name]
      if user.opcode in _SLICES and places == [0]:
        total += user.shapes[0].bytes
      elif user.opcode == 'fusion':
        inner = self.module.computations[user.called('calls') or '']
        total += sum(self._read(inner, place) for place in places)
      elif user.opcode != 'dynamic-update-slice' or places != [0]:
        return whole  # But for what is updated in place.
    return min(total, whole)

  def _written(self, fused: Computation, one: Instruction) -> int:
    """What a fusion writes: its results, or only the updated part of them."""
    roots = [fused.root]
    if fused.root.opcode == 'tuple':
      roots = [fused.instructions[name] for name in fused.root.operands]
    total = 0
    for root, shape in zip(roots, one.shapes, strict=False):
      if root.opcode == 'dynamic-update-slice':
        shape = fused.instructions[root.operands[1]].shapes[0]
      total += _main([shape])
    return total


def _main(shapes: Sequence[Shape]) -> int:
  """The bytes of those arrays that lie in main memory."""
  return sum(shape.bytes for shape in shapes if shape.space == _MAIN)


def dot_flops(one: Instruction, operands: Sequence[Shape]) -> int:
  """Two for each element of the result and of the contracted axes."""
  found = re.search(r'lhs_contracting_dims=\{([\d,]*)\}', one.attributes)
  axes = [int(n) for n in found[1].split(',') if n] if found else []
  return 2 * one.shapes[0].size * math.prod(operands[0].dims[axis] for axis in axes)


def convolution_flops(one: Instruction, operands: Sequence[Shape]) -> int:
  """As a TPU's compiler writes matrix products; batched ones with a window."""
  labels = re.search(r'dim_labels=([\w?]+)_([\w?]+)->([\w?]+)', one.attributes)
  if labels is None:
    raise ValueError(f'A convolution without dim_labels: {one.attributes[:120]!r}.')
  left, kernel, result = labels[1], labels[2], labels[3]
  window = _window(one.attributes)
  pairs = 1
  for axis in sorted(set(kernel) - {'i', 'o'}):
    place = int(axis)
    sizes = (
      operands[0].dims[left.index(axis)],
      operands[1].dims[kernel.index(axis)],
      one.shapes[0].dims[result.index(axis)],
    )
    pairs *= _valid(*sizes, {key: values[place] for key, values in window.items()})
  rows = one.shapes[0].dims[result.index('b')]
  features = one.shapes[0].dims[result.index('f')]
  return 2 * rows * features * operands[1].dims[kernel.index('i')] * pairs


def _window(attributes: str) -> dict[str, list[str]]:
  found = re.search(r'window=\{([^}]*)\}', attributes)
  pairs = (part.split('=') for part in found[1].split()) if found else ()
  return {key: values.split('x') for key, values in pairs}


def _valid(size: int, window: int, result: int, given: dict[str, str]) -> int:
  """How many pairs of an output and a window's place read an input, not padding."""
  low = int(given.get('pad', '0_0').split('_')[0])
  stride, left, right = (
    int(given.get(key, '1')) for key in ('stride', 'lhs_dilate', 'rhs_dilate')
  )
  total = 0
  for at in range(window):
    starts = (out * stride + at * right - low for out in range(result))
    total += sum(0 <= s <= (size - 1) * left and s % left == 0 for s in starts)
  return total
