"""The language: programs over sequences, as graphs of expressions.

RASP (Weiss et al. 2021, "Thinking Like Transformers", arXiv:2106.06981) says what a
transformer can do without saying with which weights. An expression stands for one value
at each position, or (`Select`) for a choice of positions at each position:

    before = Select(Indices(), Indices(), lambda key, query: key == query - 1)
    previous = Aggregate(before, Tokens())

Expressions are compared by identity: one that is used twice is computed once.
"""

from collections.abc import Callable, Iterator
import dataclasses
from typing import Any

from interp_jax.core import unknown

KINDS = ('categorical', 'numerical')

# Hashable; of numerical sequences a float.
Value = Any


@dataclasses.dataclass(frozen=True, eq=False)
class Expression:
  """A node of a program's graph."""

  def operands(self) -> tuple['Expression', ...]:
    """The expressions that this one reads."""
    fields = (getattr(self, f.name) for f in dataclasses.fields(self))
    return tuple(field for field in fields if isinstance(field, Expression))


@dataclasses.dataclass(frozen=True, eq=False)
class Sequence(Expression):
  """One value at each position.

  A categorical sequence has one of finitely many values, or none (`None`, where there
  was nothing to aggregate); a numerical one has a number, 0 where there is none.
  """

  @property
  def kind(self) -> str:
    """'categorical' or 'numerical'."""
    return 'categorical'


@dataclasses.dataclass(frozen=True, eq=False)
class Tokens(Sequence):
  """The input."""


@dataclasses.dataclass(frozen=True, eq=False)
class Indices(Sequence):
  """The positions, counted from 0."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Kinded(Sequence):
  kind: str = dataclasses.field(default='categorical', kw_only=True)

  def __post_init__(self):
    if self.kind not in KINDS:
      raise ValueError(unknown('kind', self.kind, KINDS))


@dataclasses.dataclass(frozen=True, eq=False)
class Constant(_Kinded):
  """The same value everywhere."""

  value: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Map(_Kinded):
  """`function(value)` at each position; a function may return None for no value."""

  function: Callable[[Any], Any]
  of: Sequence


@dataclasses.dataclass(frozen=True, eq=False)
class SequenceMap(_Kinded):
  """`function(first, second)` at each position, of two categorical sequences."""

  function: Callable[[Any, Any], Any]
  first: Sequence
  second: Sequence

  def __post_init__(self):
    super().__post_init__()
    for name in ('first', 'second'):
      _need_categorical(f'SequenceMap: {name}', getattr(self, name))


@dataclasses.dataclass(frozen=True, eq=False)
class Select(Expression):
  """For each query's position, the positions whose keys satisfy the predicate.

  A causal model selects none that comes later. Neither a key nor a query without a
  value satisfies a predicate.
  """

  keys: Sequence
  queries: Sequence
  predicate: Callable[[Any, Any], bool]

  def __post_init__(self):
    _need_categorical('Select: keys', self.keys)
    _need_categorical('Select: queries', self.queries)


@dataclasses.dataclass(frozen=True, eq=False)
class SelectorWidth(_Kinded):
  """How many positions are selected."""

  select: Select


@dataclasses.dataclass(frozen=True, eq=False)
class Aggregate(Sequence):
  """The mean of a sequence over the selected positions.

  Of categories the mean is the value that they share. Where they differ it is a
  `Mixture`, which a program may return but not go on computing with.
  """

  select: Select
  of: Sequence

  @property
  def kind(self) -> str:
    return self.of.kind


def walk(program: Sequence) -> Iterator[Expression]:
  """Every expression of a program once, operands before what reads them."""
  seen: set[Expression] = set()

  def visit(expression: Expression) -> Iterator[Expression]:
    if expression not in seen:
      seen.add(expression)
      for operand in expression.operands():
        yield from visit(operand)
      yield expression

  return visit(program)


def _need_categorical(what: str, sequence: Sequence) -> None:
  if sequence.kind != 'categorical':
    raise ValueError(
      f'{what} must be categorical; {type(sequence).__name__} is {sequence.kind}. '
      'Map it to categories first.'
    )
