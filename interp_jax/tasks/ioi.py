"""Indirect object identification in English, for models with a tokenizer.

Wang et al. 2023, "Interpretability in the Wild: a Circuit for Indirect Object
Identification in GPT-2 small" (arXiv:2211.00593). Two names, one of which comes again
as the subject of a gift: the other is who it is given to. There are 15 templates, each
with the indirect object first (ABBA) or second (BABA). In the prompts of `abc` three
unrelated names stand in the same places: they have the template, but no answer.
"""

from collections.abc import Sequence
import dataclasses
from typing import Protocol, runtime_checkable

from jaxtyping import Int
import numpy as np

from interp_jax.core import unknown

ORDERS = ('ABBA', 'BABA')

TEMPLATES: tuple[str, ...] = (
  'When {one} and {two} went to the {place}, {subject} gave a {object} to',
  'Then {one} and {two} walked into the {place}. {subject} handed a {object} to',
  'After {one} and {two} met at the {place}, {subject} passed a {object} to',
  'While {one} and {two} were working at the {place}, {subject} gave a {object} to',
  'Last week {one} and {two} visited the {place}. {subject} brought a {object} to',
  'Once {one} and {two} had left the {place}, {subject} sold a {object} to',
  'Because {one} and {two} got lost near the {place}, {subject} offered a {object} to',
  'Today {one} and {two} found a {object} at the {place}. {subject} gave it to',
  'Later {one} and {two} drove to the {place}, and {subject} lent a {object} to',
  'The day that {one} and {two} saw the {place}, {subject} sent a {object} to',
  'Both {one} and {two} liked the {place} so much that {subject} gave a {object} to',
  'Then {one} and {two} argued at the {place}. Later {subject} threw a {object} to',
  'Today {one} and {two} ate in the {place}. Then {subject} showed a {object} to',
  'As soon as {one} and {two} came to the {place}, {subject} returned a {object} to',
  'Daily {one} and {two} cleaned the {place}, until {subject} gave a {object} to',
)  # fmt: skip

# A sentence that names one of them once more, to mislead a model (section 4.4 there).
MENTION = 'Today {mention} had a good day. '

# Those that a tokenizer has as one token, with the space before them, are used.
NAMES: tuple[str, ...] = (
  'Aaron', 'Adam', 'Alan', 'Albert', 'Alex', 'Alice', 'Amy', 'Andrew', 'Anna', 'Anne',
  'Anthony', 'Arthur', 'Ben', 'Bill', 'Bob', 'Brian', 'Bruce', 'Carl', 'Carol',
  'Charles', 'Chris', 'Claire', 'Daniel', 'David', 'Diana', 'Donald', 'Edward',
  'Elizabeth', 'Emily', 'Emma', 'Eric', 'Frank', 'Fred', 'Gary', 'George', 'Grace',
  'Greg', 'Harry', 'Helen', 'Henry', 'Jack', 'James', 'Jane', 'Jason', 'Jennifer',
  'Jessica', 'Jim', 'Joe', 'John', 'Jordan', 'Joseph', 'Julia', 'Karen', 'Kate',
  'Keith', 'Kevin', 'Larry', 'Laura', 'Lisa', 'Lucy', 'Luke', 'Maria', 'Mark', 'Martin',
  'Mary', 'Matt', 'Matthew', 'Michael', 'Michelle', 'Mike', 'Nancy', 'Nick', 'Nicole',
  'Oliver', 'Patrick', 'Paul', 'Peter', 'Philip', 'Rachel', 'Rebecca', 'Richard',
  'Robert', 'Roger', 'Rose', 'Ruth', 'Ryan', 'Sam', 'Samuel', 'Sarah', 'Scott', 'Sean',
  'Simon', 'Sophie', 'Stephen', 'Steve', 'Susan', 'Thomas', 'Tim', 'Tom', 'Victoria',
  'Walter', 'William',
)  # fmt: skip
PLACES: tuple[str, ...] = (
  'store', 'school', 'garden', 'house', 'office', 'restaurant', 'hospital', 'station',
)  # fmt: skip
OBJECTS: tuple[str, ...] = (
  'book', 'ring', 'drink', 'letter', 'ticket', 'camera', 'key', 'computer',
)  # fmt: skip


@runtime_checkable
class Tokenizer(Protocol):
  """What this module asks of a tokenizer."""

  def encode(self, text: str) -> Sequence[int]: ...


@dataclasses.dataclass(frozen=True)
class IoiPrompts:
  """Prompts of one template and order: everything stands at the same positions.

  Attributes:
    tokens: Token ids `[B, T]`, no BOS in front; the answer follows the last one.
    abc: Prompts of the same template with three unrelated names, `[B, T]`, drawn anew.
    io: The indirect object, `[B]`.
    subject: The subject, `[B]`.
    io_at: Position of the indirect object.
    subject_at: Position of the subject's first mention.
    second_subject_at: Position of the subject's second mention.
    template: The text with its slots.
    order: 'ABBA' or 'BABA'.
  """

  tokens: Int[np.ndarray, 'B T']
  abc: Int[np.ndarray, 'B T']
  io: Int[np.ndarray, 'B']
  subject: Int[np.ndarray, 'B']
  io_at: int
  subject_at: int
  second_subject_at: int
  template: str
  order: str


def ioi_prompts(
  tokenizer: Tokenizer,
  template: str = TEMPLATES[0],
  order: str = 'ABBA',
  count: int = 16,
  seed: int = 0,
  mention: str | None = None,
) -> IoiPrompts:
  """Random prompts of a template.

  Args:
    tokenizer: The model's tokenizer.
    template: Text with the slots `{one}`, `{two}`, `{subject}`, `{place}`, `{object}`.
    order: 'ABBA', the indirect object comes first; 'BABA', the subject does.
    count: How many.
    seed: Of the draws.
    mention: Who a sentence in front names: 'io', the indirect object, which then also
      comes twice; 'other', somebody else, as its control; None for no such sentence.

  Returns:
    The prompts.

  Raises:
    ValueError: if there is no such order or mention, the tokenizer has too few of the
      names, places or objects as one token, or the prompts do not align.
  """
  if order not in ORDERS:
    raise ValueError(unknown('order', order, ORDERS))
  if mention not in (None, 'io', 'other'):
    raise ValueError(unknown('mention', mention, ('io', 'other')))
  words = {
    'name': _one_token(tokenizer, 'names', NAMES, 8),
    'place': _one_token(tokenizer, 'places', PLACES, 1),
    'object': _one_token(tokenizer, 'objects', OBJECTS, 1),
  }
  rng = np.random.default_rng(seed)
  if mention is not None:
    template = MENTION + template
  rows, abc, names = [], [], []
  for _ in range(count):
    io, subject, third = rng.permutation(words['name'])[:3]
    pair = (io, subject) if order == 'ABBA' else (subject, io)
    mentioned = io if mention == 'io' else third
    rows.append(_fill(template, *pair, subject, mentioned, words, rng))
    names.append((io, subject))
    one, two, three, four = rng.permutation(words['name'])[:4]
    abc.append(_fill(template, one, two, three, four, words, rng))
  io, subject = (
    np.array([_id(tokenizer, pair[i]) for pair in names]) for i in range(2)
  )
  tokens, abc_tokens = (_aligned(tokenizer, texts, template) for texts in (rows, abc))
  places = _places(tokens, subject, template)
  return IoiPrompts(
    tokens=tokens,
    abc=abc_tokens,
    io=io,
    subject=subject,
    io_at=_places(tokens, io, template)[-1],
    subject_at=places[0],
    second_subject_at=places[-1],
    template=template,
    order=order,
  )


def _one_token(
  tokenizer: Tokenizer, kind: str, words: Sequence[str], least: int
) -> list[str]:
  """The words that are one token behind a space."""
  fit = [word for word in words if len(tokenizer.encode(f' {word}')) == 1]
  if len(fit) < least:
    raise ValueError(
      f'ioi_prompts: the tokenizer has {len(fit)} of the {len(words)} {kind} as one '
      f'token, and {least} are needed. The prompts are English: give the tokenizer of '
      'a model of English.'
    )
  return fit


def _fill(
  template: str,
  one: str,
  two: str,
  subject: str,
  mention: str,
  words: dict[str, list[str]],
  rng: np.random.Generator,
) -> str:
  return template.format(
    one=one,
    two=two,
    subject=subject,
    mention=mention,
    place=rng.choice(words['place']),
    object=rng.choice(words['object']),
  )


def _id(tokenizer: Tokenizer, name: str) -> int:
  return int(tokenizer.encode(f' {name}')[0])


def _aligned(
  tokenizer: Tokenizer, texts: Sequence[str], template: str
) -> Int[np.ndarray, 'B T']:
  rows = [list(tokenizer.encode(text)) for text in texts]
  if len({len(row) for row in rows}) != 1:
    raise ValueError(
      f'ioi_prompts: prompts of {template!r} have different numbers of tokens; every '
      'slot must stand behind a space.'
    )
  return np.array(rows, np.int32)


def _places(
  tokens: Int[np.ndarray, 'B T'], names: Int[np.ndarray, 'B'], template: str
) -> list[int]:
  """The positions of a name, which are the same in all rows."""
  found = tokens == names[:, None]
  if not (found == found[:1]).all() or not found.any():
    raise ValueError(
      f'ioi_prompts: names do not stand at the same positions in all prompts of '
      f'{template!r}; every slot must stand behind a space.'
    )
  return np.flatnonzero(found[0]).tolist()
