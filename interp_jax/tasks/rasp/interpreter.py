"""What a program means: its values on one input, by the definitions and nothing else.

The compiled weights are tested against this, on every input.
"""

from collections.abc import Mapping
import dataclasses
from fractions import Fraction
from typing import Any

from jaxtyping import Bool
import numpy as np

from interp_jax.tasks.rasp.program import (
  Aggregate,
  Constant,
  Expression,
  Indices,
  Map,
  Select,
  SelectorWidth,
  Sequence,
  SequenceMap,
  Tokens,
  Value,
  walk,
)


@dataclasses.dataclass(frozen=True)
class Mixture:
  """Several categories at once: what aggregating different ones gives.

  Attributes:
    weights: Value → its share of what was selected; positions without a value count
      among those selected.
  """

  weights: Mapping[Value, Fraction]


def evaluate(
  program: Sequence, tokens: tuple[Value, ...], causal: bool = False
) -> list[Any]:
  """The values of a program on an input.

  Args:
    program: The program.
    tokens: The input.
    causal: Whether a position can select only itself and earlier ones.

  Returns:
    For each position a category (None for no value), a `Mixture`, or a float.

  Raises:
    ValueError: if the program goes on computing with a mixture.
  """
  return trace(program, tokens, causal)[program]


def trace(
  program: Sequence, tokens: tuple[Value, ...], causal: bool = False
) -> dict[Expression, Any]:
  """The values of every expression of a program.

  Args:
    program: The program.
    tokens: The input.
    causal: Whether a position can select only itself and earlier ones.

  Returns:
    Expression → a list of values, or for a `Select` an array `[T, S]` of bools.

  Raises:
    ValueError: if the program goes on computing with a mixture.
  """
  values: dict[Expression, Any] = {}
  for expression in walk(program):
    for operand in expression.operands():
      if any(isinstance(value, Mixture) for value in values[operand]):
        raise ValueError(
          f'{type(expression).__name__} reads a sequence that aggregates different '
          f'categories on the input {tokens}. Select positions that agree, or '
          'aggregate numbers.'
        )
    values[expression] = _meaning(expression, values, tokens, causal)
  return values


def _meaning(
  expression: Expression,
  values: Mapping[Expression, Any],
  tokens: tuple[Value, ...],
  causal: bool,
) -> Any:
  here = range(len(tokens))
  match expression:
    case Tokens():
      return list(tokens)
    case Indices():
      return list(here)
    case Constant(value=value):
      return [_numeric(expression, value)] * len(tokens)
    case Map(function=function, of=of):
      return [_apply(expression, function, value) for value in values[of]]
    case SequenceMap(function=function, first=first, second=second):
      pairs = zip(values[first], values[second], strict=True)
      return [_apply(expression, function, *pair) for pair in pairs]
    case Select():
      return _selected(expression, values, causal)
    case SelectorWidth(select=select):
      return [_numeric(expression, int(n)) for n in values[select].sum(1)]
    case Aggregate(select=select, of=of):
      rows = [[values[of][s] for s in here if values[select][t, s]] for t in here]
      return [_mean(expression.kind, row) for row in rows]
  raise TypeError(f'{type(expression).__name__} is not an expression of the language.')


def _numeric(expression: Sequence, value: Any) -> Any:
  if expression.kind == 'categorical':
    return value
  return 0.0 if value is None else float(value)


def _apply(expression: Sequence, function: Any, *values: Any) -> Any:
  missing = any(value is None for value in values)
  return _numeric(expression, None if missing else function(*values))


def _selected(
  select: Select, values: Mapping[Expression, Any], causal: bool
) -> Bool[np.ndarray, 'T S']:
  keys, queries = values[select.keys], values[select.queries]
  chosen = np.zeros((len(queries), len(keys)), bool)
  for t, query in enumerate(queries):
    for s, key in enumerate(keys[: t + 1] if causal else keys):
      known = key is not None and query is not None
      chosen[t, s] = known and bool(select.predicate(key, query))
  return chosen


def _mean(kind: str, row: list[Any]) -> Any:
  if kind == 'numerical':
    return float(sum(row) / len(row)) if row else 0.0
  weights: dict[Value, Fraction] = {}
  for value in row:
    if value is not None:
      weights[value] = weights.get(value, Fraction(0)) + Fraction(1, len(row))
  if not weights:
    return None
  first = next(iter(weights))
  return first if weights[first] == 1 else Mixture(weights)
