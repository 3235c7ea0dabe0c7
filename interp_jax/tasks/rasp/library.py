"""Programs whose circuits are known, most of them from the papers on RASP and tracr."""

from collections.abc import Callable, Mapping
import dataclasses

from interp_jax.tasks.rasp.program import (
  Aggregate,
  Indices,
  Map,
  Select,
  SelectorWidth,
  Sequence,
  SequenceMap,
  Tokens,
  Value,
)


@dataclasses.dataclass(frozen=True)
class Recipe:
  """A program and how to compile it.

  Attributes:
    make: Makes the program.
    vocabulary: Its tokens.
    length: Tokens of an input.
    causal: Whether the model is.
    description: What it computes.
  """

  make: Callable[[], Sequence]
  vocabulary: tuple[Value, ...]
  length: int
  causal: bool
  description: str


def previous_token() -> Sequence:
  """The token before; none at the first position."""
  indices = Indices()
  before = Select(indices, indices, lambda key, query: key == query - 1)
  return Aggregate(before, Tokens())


def induction() -> Sequence:
  """What followed this token before: a previous-token head and an induction head."""
  tokens = Tokens()
  indices = Indices()
  before = Select(indices, indices, lambda key, query: key == query - 1)
  previous = Aggregate(before, tokens)
  after_the_same = Select(previous, tokens, lambda key, query: key == query)
  return Aggregate(after_the_same, tokens)


def fraction_of_previous() -> Sequence:
  """The share of 'x' among the tokens so far."""
  indices = Indices()
  is_x = Map(lambda token: float(token == 'x'), Tokens(), kind='numerical')
  so_far = Select(indices, indices, lambda key, query: key <= query)
  return Aggregate(so_far, is_x)


def reverse() -> Sequence:
  """The input from its end to its beginning, whatever its length."""
  indices = Indices()
  length = SelectorWidth(Select(indices, indices, lambda key, query: True))
  opposite = SequenceMap(lambda n, i: n - 1 - i if i < n else None, length, indices)
  there = Select(indices, opposite, lambda key, query: key == query)
  return Aggregate(there, Tokens())


def sort() -> Sequence:
  """The tokens in rising order; equal ones stay in theirs."""
  indices, tokens = Indices(), Tokens()
  keys = SequenceMap(lambda token, i: (token, i), tokens, indices)
  smaller = Select(keys, keys, lambda key, query: key < query)
  rank = SelectorWidth(smaller)
  of_this_rank = Select(rank, indices, lambda key, query: key == query)
  return Aggregate(of_this_rank, tokens)


def histogram() -> Sequence:
  """How often each token occurs in the input."""
  tokens = Tokens()
  return SelectorWidth(Select(tokens, tokens, lambda key, query: key == query))


def duplicates() -> Sequence:
  """Whether the token has occurred before; of a causal model."""
  return Map(lambda count: count > 1, histogram())


def double_histogram() -> Sequence:
  """At how many positions stands a token that occurs as often as this one."""
  counts = histogram()
  return SelectorWidth(Select(counts, counts, lambda key, query: key == query))


_LETTERS = ('a', 'b', 'c', 'd')

RECIPES: Mapping[str, Recipe] = {
  'previous_token': Recipe(
    previous_token, _LETTERS, 6, True, 'The token before this one.'
  ),
  'induction': Recipe(
    induction, _LETTERS, 6, True, 'The tokens that followed this one before.'
  ),
  'fraction_of_previous': Recipe(
    fraction_of_previous,
    ('a', 'b', 'x'),
    6,
    False,
    'The share of x among the tokens so far.',
  ),
  'reverse': Recipe(reverse, _LETTERS, 5, False, 'The input in reverse.'),
  'sort': Recipe(sort, (0, 1, 2, 3), 5, False, 'The input, sorted.'),
  'histogram': Recipe(
    histogram, _LETTERS, 5, False, 'How often the token occurs in the input.'
  ),
  'duplicates': Recipe(
    duplicates, _LETTERS, 5, True, 'Whether the token has occurred before.'
  ),
  'double_histogram': Recipe(
    double_histogram,
    _LETTERS,
    5,
    False,
    'At how many positions stands a token that occurs as often as this one.',
  ),
}
