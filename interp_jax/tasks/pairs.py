"""Pairs of inputs that differ in exactly one token, and in their answers.

Activation patching asks which activation carries the answer. It needs two runs that
differ in nothing but what the answer depends on (Zhang & Nanda 2023, "Towards Best
Practices of Activation Patching": replace tokens, do not add noise). Here are two
families: induction on random tokens, and variable names in Python source.
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
from typing import Protocol, runtime_checkable

from jaxtyping import Int
import numpy as np

from interp_jax.core import unknown

# Source with one slot, `{}`, for a name that the next token then has to repeat. What
# follows the slot is the same for all names, so that only the slot can tell.
TEMPLATES: Mapping[str, str] = {
  'initialiser': 'class Record:\n    def __init__(self, {}):\n        self.',
  'attribute': 'class Record:\n    def __init__(self, *args):\n        self.{} =',
  'argument': 'def convert({}):\n    """Convert it."""\n    return',
  'loop': 'for {} in sorted(values):\n    if',
  'except': 'try:\n    main()\nexcept ValueError as {}:\n    print(',
  'with': 'with open(path) as {}:\n    data =',
  'lambda': 'values.sort(key=lambda {}:',
  'comprehension': 'values = [x for x in {}]\nfor x in',
  'assigned': 'def main():\n    {} = []\n    for x in y:\n        pass\n    return',
  'guard': 'def check({}):\n    if not isinstance(',
}

# Names that are common in Python source, so that a small tokenizer has most of them.
NAMES: tuple[str, ...] = (
  'name', 'value', 'data', 'line', 'item', 'key', 'text', 'result', 'path', 'index',
  'file', 'node', 'args', 'func', 'obj', 'cls', 'msg', 'size', 'count', 'start',
  'end', 'type', 'list', 'dict', 'code', 'time', 'filename', 'string', 'other',
  'length', 'mode', 'module', 'method', 'parent', 'char', 'stream', 'buffer', 'fp',
  'x', 'y', 'n', 'i', 's', 'f', 'p', 'c', 'a', 'b', 'e', 'k', 'v',
)  # fmt: skip


@runtime_checkable
class Tokenizer(Protocol):
  """What this module asks of a tokenizer."""

  @property
  def bos_id(self) -> int: ...

  def encode(self, text: str) -> Sequence[int]: ...


@dataclasses.dataclass(frozen=True)
class Pairs:
  """Clean and corrupted inputs, aligned token by token.

  Attributes:
    clean: Token ids, `[B, T]`.
    corrupted: Token ids that differ from `clean` at one position of each row, `[B, T]`.
    changed: That position, `[B]`.
    correct: The answer to the clean input: the token that should follow, `[B]`.
    wrong: The answer to the corrupted input, `[B]`.
    description: One line for a caption.
  """

  clean: Int[np.ndarray, 'B T']
  corrupted: Int[np.ndarray, 'B T']
  changed: Int[np.ndarray, 'B']
  correct: Int[np.ndarray, 'B']
  wrong: Int[np.ndarray, 'B']
  description: str

  def __len__(self) -> int:
    return len(self.clean)

  def swapped(self) -> 'Pairs':
    """The same pairs with clean and corrupted exchanged, answers too."""
    return dataclasses.replace(
      self,
      clean=self.corrupted,
      corrupted=self.clean,
      correct=self.wrong,
      wrong=self.correct,
    )

  def take(self, rows: Sequence[int] | Int[np.ndarray, 'n']) -> 'Pairs':
    """Some of the pairs."""
    names = ('clean', 'corrupted', 'changed', 'correct', 'wrong')
    rows = np.asarray(rows, int)
    return dataclasses.replace(self, **{n: getattr(self, n)[rows] for n in names})


def induction_pairs(
  batch: int,
  vocab_size: int,
  bos_id: int | None = None,
  length: int = 24,
  gap: tuple[int, int] = (6, 16),
  exclude: Sequence[int] = (),
  seed: int = 0,
) -> Pairs:
  """`[BOS] ... A B ... A`, which induction completes with B.

  The corrupted input has B' in the place of B, which is then the answer. All tokens
  but A are different. The distance between the two A is drawn once, so that positions
  mean the same in all rows; for a claim about induction draw several batches.

  Args:
    batch: The number of pairs.
    vocab_size: Tokens are drawn below it.
    bos_id: The token that rows begin with; None for none.
    length: Tokens in a row.
    gap: Shortest and longest distance between the two A.
    exclude: Tokens not to draw.
    seed: Of the draws.

  Returns:
    The pairs; the answer follows the last token.

  Raises:
    ValueError: if the gap does not fit in the length, or the vocabulary is too small.
  """
  bos = int(bos_id is not None)
  if not 2 <= gap[0] <= gap[1] <= length - 1 - bos:
    raise ValueError(
      f'induction_pairs: gap is {gap}; give 2 <= shortest <= longest <= '
      f'{length - 1 - bos}, what fits in {length} tokens.'
    )
  special = [*exclude] if bos_id is None else [*exclude, bos_id]
  allowed = np.setdiff1d(np.arange(vocab_size), special)
  if allowed.size < length + 1:
    raise ValueError(
      f'induction_pairs: {allowed.size} tokens to draw from, but rows of {length} '
      'different ones and another answer are asked for. Give a smaller length.'
    )
  rng = np.random.default_rng(seed)
  first = length - 1 - int(rng.integers(gap[0], gap[1] + 1))
  clean = np.stack(
    [rng.choice(allowed, length + 1, replace=False) for _ in range(batch)]
  )
  other, clean = clean[:, -1], clean[:, :-1]
  clean[:, -1] = clean[:, first]
  if bos:
    clean[:, 0] = bos_id
  return _pairs(
    clean, first + 1, other, clean[:, first + 1], other, 'Induction: A B … A'
  )


def variable_pairs(
  tokenizer: Tokenizer,
  template: str = 'argument',
  names: Iterable[str] = NAMES,
  pairs: int = 16,
  seed: int = 0,
) -> Pairs:
  """Python source in which one name is replaced by another, and the answer with it.

  Only names are used that are one token in the slot and one token as the answer, and
  that change nothing around them, as the tokenizer has it.

  Args:
    tokenizer: The model's tokenizer.
    template: A name in `TEMPLATES`, or source with one slot `{}`.
    names: The names to try.
    pairs: At most how many pairs; every pair is of two names drawn at random.
    seed: Of the draws.

  Returns:
    The pairs; the answer follows the last token.

  Raises:
    ValueError: if there is no such template, or fewer than two names fit.
  """
  text = TEMPLATES.get(template, template)
  if text.count('{}') != 1:
    raise ValueError(
      f'{unknown("template", template, TEMPLATES)} Or give source with one slot {{}}.'
    )
  rows, answers, slot = _names_that_fit(tokenizer, text, dict.fromkeys(names))
  if len(rows) < 2:
    raise ValueError(
      f'variable_pairs: {len(rows)} of the names fit template {template!r} with this '
      'tokenizer, and a pair needs two. Give other names or another template.'
    )
  rng = np.random.default_rng(seed)
  one, other = np.nonzero(~np.eye(len(rows), dtype=bool))
  chosen = rng.permutation(one.size)[:pairs]
  one, other = one[chosen], other[chosen]
  return _pairs(
    rows[one],
    slot,
    rows[other, slot],
    answers[one],
    answers[other],
    f'Variable name: {text.format("…")!r}',
  )


def _names_that_fit(
  tokenizer: Tokenizer, text: str, names: Iterable[str]
) -> tuple[np.ndarray, np.ndarray, int]:
  """Rows `[names, T]` that differ at one position, their answers, that position."""
  found = []
  for name in names:
    row = list(tokenizer.encode(text.format(name)))
    # After an opening bracket or a point the name stands alone, else behind a space.
    answer = name if text[-1] in '(.[' else f' {name}'
    full = list(tokenizer.encode(text.format(name) + answer))
    if len(full) == len(row) + 1 and full[:-1] == row:
      found.append((row, full[-1]))
  found = _most_common_frame(found)
  if len(found) < 2:
    return np.zeros((len(found), 1), int), np.zeros(len(found), int), 0
  rows = np.array([[tokenizer.bos_id, *row] for row, _ in found])
  slot = int(np.nonzero((rows != rows[0]).any(0))[0][0])
  return rows, np.array([answer for _, answer in found]), slot


def _most_common_frame(
  found: list[tuple[list[int], int]],
) -> list[tuple[list[int], int]]:
  """The largest set of rows that are the same but for one position."""
  frames: dict[tuple, list] = {}
  for row, answer in found:
    for slot in range(len(row)):
      frame = (*row[:slot], None, *row[slot + 1 :])
      frames.setdefault(frame, []).append((row, answer))
  return max(frames.values(), key=len, default=[])


def _pairs(
  clean: np.ndarray,
  slot: int,
  other: np.ndarray,
  correct: np.ndarray,
  wrong: np.ndarray,
  description: str,
) -> Pairs:
  corrupted = clean.copy()
  corrupted[:, slot] = other
  return Pairs(
    clean=clean.astype(np.int32),
    corrupted=corrupted.astype(np.int32),
    changed=np.full(len(clean), slot),
    correct=correct.astype(np.int32),
    wrong=wrong.astype(np.int32),
    description=description,
  )
