"""Which values each sequence of a program can have: one dimension for each.

Inferred from the program alone, so a value may be listed that no input gives.
"""

from collections.abc import Iterable, Mapping

from interp_jax.tasks.rasp.program import (
  Aggregate,
  Constant,
  Expression,
  Indices,
  Map,
  SelectorWidth,
  Sequence,
  SequenceMap,
  Tokens,
  Value,
  walk,
)

# The most numbers that a sequence which is mapped may have: each costs two neurons.
MOST_NUMBERS = 4096


class Values:
  """The possible values of each sequence of a program.

  Args:
    program: The program.
    vocabulary: The possible tokens.
    max_length: The longest input.
  """

  def __init__(self, program: Sequence, vocabulary: tuple[Value, ...], max_length: int):
    self.vocabulary = vocabulary
    self.max_length = max_length
    self._known: dict[Expression, tuple[Value, ...]] = {}
    for expression in walk(program):
      if isinstance(expression, Sequence) and expression.kind == 'categorical':
        self._known[expression] = self._infer(expression)

  def __getitem__(self, sequence: Sequence) -> tuple[Value, ...]:
    """The values but None: categories in a fixed order, numbers in rising order.

    Raises:
      ValueError: if there are more than `MOST_NUMBERS` numbers.
    """
    if sequence not in self._known:  # Numbers, and only those that somebody maps.
      self._known[sequence] = tuple(sorted(self._infer(sequence)))
    return self._known[sequence]

  def _infer(self, sequence: Sequence) -> tuple[Value, ...]:
    match sequence:
      case Tokens():
        return self.vocabulary
      case Indices():
        return tuple(range(self.max_length))
      case Constant(value=value):
        return _distinct([value], sequence)
      case Map(function=function, of=of):
        results = [function(value) for value in self[of]]
        return _distinct(results, sequence)
      case SequenceMap(function=function, first=first, second=second):
        results = [function(a, b) for a in self[first] for b in self[second]]
        return _distinct(results, sequence)
      case SelectorWidth():
        return _distinct(range(self.max_length + 1), sequence)
      case Aggregate(of=of):
        if sequence.kind == 'categorical':
          return self[of]
        return _means(self[of], self.max_length)
    raise TypeError(f'{type(sequence).__name__} is not a sequence of the language.')


def _distinct(results: Iterable[Value], sequence: Sequence) -> tuple[Value, ...]:
  """Without repetitions and None, which a number takes as 0."""
  if sequence.kind == 'numerical':
    return tuple({0.0 if r is None else float(r): None for r in results})
  return tuple({r: None for r in results if r is not None})


def _means(numbers: tuple[Value, ...], most: int) -> tuple[Value, ...]:
  """Every mean of up to `most` of the numbers, and 0 for the mean of none."""
  sums: set[float] = {0.0}
  means: set[float] = {0.0}
  for count in range(1, most + 1):
    sums = {round(total + number, 9) for total in sums for number in numbers}
    means |= {total / count for total in sums}
    if len(sums) > MOST_NUMBERS:
      raise ValueError(
        f'An aggregated number that is mapped could be any of more than {MOST_NUMBERS} '
        'values. Aggregate fewer different numbers, or shorter inputs.'
      )
  return tuple(sorted(means))


def index(values: tuple[Value, ...]) -> Mapping[Value, int]:
  """Value → its place."""
  return {value: i for i, value in enumerate(values)}
