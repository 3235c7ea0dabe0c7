"""Indirect object identification without English: two clauses, four names.

    <bos> w w  A and B  w  C and D  w w w  B gave to ...   →   A

The *subject* repeats one of four names, and the answer, the *indirect object*, is its
partner in the clause. With one clause a model of one layer suffices: attend to the
names and away from the one that came twice. With two, it has to find the clause, so
that heads of several layers must work together. Words of no meaning fill three gaps
whose lengths are drawn, so that no name stands at a place of its own.

What a model can know by heart is held out: some pairs of names never share a clause in
training, and some layouts never occur.
"""

import dataclasses
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int
import numpy as np

BOS, AND, GAVE, TO = range(4)
_FIRST_NAME = 4
# Tokens of a row that are no filler: BOS, twice `A and B`, `S gave to`.
_FIXED = 10


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClausePrompts:
  """Prompts, corrupted ones, and where things are.

  The corrupted prompt has a fifth name in the place of the second subject, and so no
  answer: it differs in one token, and all positions mean the same.

  Attributes:
    tokens: Token ids, `[B, T]`. The answer follows the last token.
    corrupted: Token ids of the corrupted prompts, `[B, T]`.
    answer: The indirect object, `[B]`.
    subject: The name that comes twice, `[B]`.
    answer_at: Position of the answer, `[B]`.
    subject_at: Position of the subject in its clause, `[B]`.
    others_at: Positions of the names of the other clause, `[B, 2]`.
    new_pair: Whether a clause holds a pair that is held out, `[B]`.
  """

  tokens: Any
  corrupted: Any
  answer: Any
  subject: Any
  answer_at: Any
  subject_at: Any
  others_at: Any
  new_pair: Any

  def take(self, rows: Int[np.ndarray, 'n'] | Bool[np.ndarray, 'B']) -> 'ClausePrompts':
    """Some of the prompts, as numpy arrays."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[rows], self)


@dataclasses.dataclass(frozen=True)
class TwoClauses:
  """The task: how many names and words there are, and what is held out.

  Attributes:
    names: Number of names.
    words: Number of filler words.
    length: Tokens of a prompt `T`.
    held_out: Share of the pairs of names, and of the layouts, that are held out.
    seed: Decides which.
  """

  names: int = 80
  words: int = 16
  length: int = 16
  held_out: float = 0.05
  seed: int = 0

  def __post_init__(self):
    """Refuses a task that cannot be drawn."""
    if self.names < 5 or self.words < 1:
      raise ValueError(
        f'TwoClauses: {self.names} names and {self.words} words; a prompt and its '
        'corruption need at least 5 names and 1 word.'
      )
    if self.length < _FIXED + 3:
      raise ValueError(
        f'TwoClauses: length={self.length}; give at least {_FIXED + 3}, so that '
        'layouts differ.'
      )
    if not 0 < self.held_out < 1:
      raise ValueError(
        f'TwoClauses: held_out={self.held_out}; give a share between 0 and 1.'
      )

  @property
  def vocab_size(self) -> int:
    """Number of tokens: four fixed ones, the names, the words."""
    return _FIRST_NAME + self.names + self.words

  @property
  def name_ids(self) -> range:
    """The token ids of the names."""
    return range(_FIRST_NAME, _FIRST_NAME + self.names)

  @property
  def second_subject_at(self) -> int:
    """Where the subject comes again."""
    return self.length - 3

  @functools.cached_property
  def layouts(self) -> Int[np.ndarray, 'layouts 2']:
    """Where the two clauses begin, in every layout; they do not touch."""
    last = self.second_subject_at - 1
    starts = itertools.product(range(1, last), repeat=2)
    fits = [(one, two) for one, two in starts if two - one > 3 and two + 3 <= last]
    return np.array(fits)

  @functools.cached_property
  def new_layouts(self) -> Bool[np.ndarray, ' layouts']:
    """Which layouts are held out: at least one."""
    count = max(1, round(self.held_out * len(self.layouts)))
    chosen = self._rng(0).permutation(len(self.layouts))[:count]
    return np.isin(np.arange(len(self.layouts)), chosen)

  @functools.cached_property
  def new_pairs(self) -> Bool[np.ndarray, 'names names']:
    """Which pairs of names are held out; symmetric."""
    drawn = np.triu(self._rng(1).random((self.names, self.names)) < self.held_out, 1)
    return drawn | drawn.T

  def draw(
    self, key: jax.Array, count: int, layouts: Int[Array | np.ndarray, 'n 2']
  ) -> ClausePrompts:
    """Random prompts, on the device: `jit` it with `count` static.

    All five names of a prompt differ; pairs that are held out come up as any others,
    and are marked.

    Args:
      key: Of the draws.
      count: How many prompts.
      layouts: The layouts to draw from, rows of `layouts`.

    Returns:
      The prompts.
    """
    for_names, for_layout, for_words, for_subject = jax.random.split(key, 4)
    noise = jax.random.uniform(for_names, (count, self.names))
    names = jax.lax.top_k(noise, 5)[1]
    pick = jax.random.randint(for_layout, (count,), 0, len(layouts))
    starts = jnp.asarray(layouts)[pick]
    words = jax.random.randint(for_words, (count, self.length), 0, self.words)
    asked = jax.random.randint(for_subject, (count,), 0, 4)
    # Name i of the four: clause i // 2, first or last word of it.
    places = (starts[:, :, None] + jnp.array([0, 2])).reshape(count, 4)
    pairs = names[:, :4].reshape(count, 2, 2)
    new = jnp.asarray(self.new_pairs)[pairs[..., 0], pairs[..., 1]].any(1)
    tokens = self._fill(words, starts, names + _FIRST_NAME)
    of = lambda table, at: jnp.take_along_axis(table, at[:, None], 1)[:, 0]
    subject, partner = asked, asked ^ 1
    clause = (asked // 2 * 2)[:, None] ^ 2
    at = self.second_subject_at
    four = names + _FIRST_NAME
    return ClausePrompts(
      tokens=tokens.at[:, at].set(of(four, subject)),
      corrupted=tokens.at[:, at].set(four[:, 4]),
      answer=of(four, partner),
      subject=of(four, subject),
      answer_at=of(places, partner),
      subject_at=of(places, subject),
      others_at=jnp.take_along_axis(places, clause + jnp.arange(2), 1),
      new_pair=new,
    )

  def prompts(
    self,
    count: int,
    seed: int,
    *,
    new_pairs: bool = False,
    new_layouts: bool = False,
  ) -> ClausePrompts:
    """Random prompts of one kind, as numpy arrays.

    Args:
      count: How many.
      seed: Of the draws.
      new_pairs: Whether every prompt has a clause with a pair that is held out, or none
        has.
      new_layouts: Whether layouts are those held out, or the others.

    Returns:
      The prompts.
    """
    layouts = self.layouts[self.new_layouts == new_layouts]
    key, found, have = jax.random.key(seed), [], 0
    while have < count:
      key, now = jax.random.split(key)
      drawn = _draw(self, now, max(256, count), layouts)
      drawn = drawn.take(np.asarray(drawn.new_pair) == new_pairs)
      found.append(drawn)
      have += len(drawn.tokens)
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *found)

  def token_strings(self, ids: Int[Array | np.ndarray, ' T']) -> list[str]:
    """Tokens as words: names are `N0`, `N1`, ..., fillers `w0`, `w1`, ..."""
    fixed = ('<bos>', 'and', 'gave', 'to')
    names = tuple(f'N{i}' for i in range(self.names))
    table = (*fixed, *names, *(f'w{i}' for i in range(self.words)))
    return [table[int(i)] for i in ids]

  def _fill(self, words: jax.Array, starts: jax.Array, names: jax.Array) -> jax.Array:
    """Rows of filler with the clauses written over it; no second subject yet."""
    tokens = words + _FIRST_NAME + self.names
    rows = jnp.arange(len(words))[:, None]
    both = jnp.full(starts.shape, AND)
    tokens = tokens.at[rows, starts].set(names[:, [0, 2]])
    tokens = tokens.at[rows, starts + 1].set(both)
    tokens = tokens.at[rows, starts + 2].set(names[:, [1, 3]])
    end = self.second_subject_at
    return tokens.at[:, 0].set(BOS).at[:, end + 1].set(GAVE).at[:, end + 2].set(TO)

  def _rng(self, what: int) -> np.random.Generator:
    return np.random.default_rng([self.seed, what])


@functools.partial(jax.jit, static_argnums=(0, 2))
def _draw(task, key, count, layouts):
  return task.draw(key, count, layouts)
