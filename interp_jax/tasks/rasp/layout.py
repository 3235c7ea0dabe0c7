"""Where everything of a program goes: which node computes it, which dimensions hold it.

The residual stream is a direct sum of subspaces, as in tracr (Lindner et al. 2023,
arXiv:2301.05062): one dimension for each value of a categorical sequence, one for a
numerical sequence. Each subspace is written by exactly one node, so a program's data
flow is its circuit.
"""

import dataclasses
from typing import Any

from interp_jax.tasks.rasp.program import (
  Aggregate,
  Constant,
  Expression,
  Indices,
  Select,
  SelectorWidth,
  Sequence,
  Tokens,
  walk,
)
from interp_jax.tasks.rasp.values import Values

INPUT = 'input'
# Subspaces that belong to no sequence: one dimension that marks the BOS token and one
# that marks every other position.
BOS, REAL = 'bos', 'real'

# What a head computes.
Head = Aggregate | SelectorWidth


@dataclasses.dataclass(frozen=True)
class Space:
  """A subspace of the residual stream.

  Attributes:
    start: Its first dimension.
    size: How many it has.
    writer: The node that writes it: 'input', 'a{layer}.h{head}' or 'm{layer}'.
    varies: Whether what stands there depends on the tokens.
    always: Whether something stands there at every position but BOS.
  """

  start: int
  size: int
  writer: str
  varies: bool
  always: bool = True

  @property
  def dims(self) -> slice:
    """Its dimensions."""
    return slice(self.start, self.start + self.size)


@dataclasses.dataclass(frozen=True)
class Layout:
  """The plan of a compiled program.

  Attributes:
    program: The program.
    values: The possible values of its sequences.
    layers: Number of layers.
    heads: Aggregate or SelectorWidth → its (layer, head).
    mlps: What an MLP computes → its layer.
    spaces: Sequence → its subspace; also `BOS`, `REAL`, and `(BOS, width)` for the
      number that the head of a SelectorWidth writes.
    width: Dimensions of the residual stream.
  """

  program: Sequence
  values: Values
  layers: int
  heads: dict[Head, tuple[int, int]]
  mlps: dict[Expression, int]
  spaces: dict[Any, Space]
  width: int


def plan(program: Sequence, values: Values) -> Layout:
  """Puts each expression into the first layer in which its operands are known.

  Args:
    program: The program.
    values: The possible values of its sequences.

  Returns:
    The layout.
  """
  heads, mlps = _place(program)
  spaces: dict[Any, Space] = {}
  used = 0

  def add(key: Any, size: int, writer: str, varies: bool, always: bool = True) -> None:
    nonlocal used
    spaces[key] = Space(used, size, writer, varies, always)
    used += size

  add(BOS, 1, INPUT, False)
  add(REAL, 1, INPUT, False)
  varies = _depend_on_tokens(program)
  for expression in walk(program):
    if not isinstance(expression, Sequence):
      continue
    if isinstance(expression, SelectorWidth):
      head = 'a{}.h{}'.format(*heads[expression])
      add((BOS, expression), 1, head, varies[expression])
    size = len(values[expression]) if expression.kind == 'categorical' else 1
    always = isinstance(expression, Tokens | Indices | Constant | SelectorWidth)
    writer = _writer(expression, heads, mlps)
    add(expression, size, writer, varies[expression], always)
  layers = 1 + max([layer for layer, _ in heads.values()] + [*mlps.values(), 0])
  return Layout(program, values, layers, heads, mlps, spaces, used)


def _place(
  program: Sequence,
) -> tuple[dict[Head, tuple[int, int]], dict[Expression, int]]:
  """The head or the MLP of each expression; halves of layers are counted as stages."""
  stages: dict[Expression, int] = {}
  heads: dict[Head, tuple[int, int]] = {}
  mlps: dict[Expression, int] = {}
  in_layer: dict[int, int] = {}
  for expression in walk(program):
    ready = max((stages[o] for o in expression.operands()), default=0)
    if isinstance(expression, Tokens | Indices | Constant | Select):
      stages[expression] = ready
      continue
    if isinstance(expression, Head):
      layer = (ready + 1) // 2  # Stage 2l is before the attention of layer l.
      heads[expression] = (layer, in_layer.get(layer, 0))
      in_layer[layer] = in_layer.get(layer, 0) + 1
      stages[expression] = 2 * layer + 1
    if not isinstance(expression, Aggregate):
      ready = max(ready, stages.get(expression, 0))
      mlps[expression] = ready // 2
      stages[expression] = 2 * (ready // 2) + 2
  return heads, mlps


def _writer(
  expression: Sequence,
  heads: dict[Head, tuple[int, int]],
  mlps: dict[Expression, int],
) -> str:
  if expression in mlps:
    return f'm{mlps[expression]}'
  if isinstance(expression, Head):
    return 'a{}.h{}'.format(*heads[expression])
  return INPUT


def _depend_on_tokens(program: Sequence) -> dict[Expression, bool]:
  varies: dict[Expression, bool] = {}
  for expression in walk(program):
    below = any(varies[operand] for operand in expression.operands())
    varies[expression] = below or isinstance(expression, Tokens)
  return varies
