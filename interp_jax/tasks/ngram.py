r"""An n-gram model, as the baseline that a language model has to beat.

Interpolated Kneser-Ney smoothing with three discounts per order ("modified"), after
Chen & Goodman (1999), An empirical study of smoothing techniques for language modeling,
Computer Speech and Language 13, section 3. With `h` a context and `h'` the same
without its first token,

    p(w | h) = (c(h w) - D(c(h w))) / c(h) + gamma(h) p(w | h')
    gamma(h) = (D1 N1(h) + D2 N2(h) + D3 N3+(h)) / c(h)

where `c` counts, `N_i(h)` is the number of tokens seen `i` times after `h`, and the
highest order counts occurrences while each lower one counts the distinct tokens that
precede an n-gram. The lowest order is interpolated with the uniform distribution. The
discounts are the closed forms `Y = n1 / (n1 + 2 n2)`, `D1 = 1 - 2 Y n2 / n1`,
`D2 = 2 - 3 Y n3 / n2`, `D3 = 3 - 4 Y n4 / n3`, with `n_i` the number of n-grams of
that order that were counted `i` times.
"""

import dataclasses

from jaxtyping import Float, Int, Integer
import numpy as np

# Where the closed forms are not defined (there is no n-gram of count 1, 2, 3 or 4, as
# among the few unigrams of a large text), one discount for all counts.
FALLBACK_DISCOUNT = 0.5


@dataclasses.dataclass(frozen=True)
class _Order:
  """One order of the model: its n-grams and contexts, as sorted integer codes.

  Attributes:
    codes: `[ngrams]` codes of the n-grams, sorted.
    kept: `[ngrams]` `(c - D(c)) / c(h)`, what is left of each n-gram's share.
    contexts: `[contexts]` codes of the contexts, sorted.
    freed: `[contexts]` gamma, what discounting freed for the lower orders.
  """

  codes: Int[np.ndarray, 'ngrams']
  kept: Float[np.ndarray, 'ngrams']
  contexts: Int[np.ndarray, 'contexts']
  freed: Float[np.ndarray, 'contexts']

  def interpolate(self, codes: np.ndarray, vocab: int, lower: np.ndarray) -> np.ndarray:
    """`p(w | h)` for the n-grams of the given codes, from `p(w | h')`."""
    kept = _look_up(self.codes, self.kept, codes, missing=0.0)
    # A context that was never seen leaves everything to the lower orders.
    return kept + _look_up(self.contexts, self.freed, codes // vocab, 1.0) * lower


@dataclasses.dataclass(frozen=True)
class KneserNey:
  """An n-gram model with modified interpolated Kneser-Ney smoothing.

  Attributes:
    vocab_size: number of tokens.
    orders: its orders, from unigrams up.
  """

  vocab_size: int
  orders: tuple[_Order, ...]

  @classmethod
  def fit(
    cls, rows: Integer[np.ndarray, 'rows T'], vocab_size: int, order: int = 3
  ) -> 'KneserNey':
    """Counts and discounts the n-grams within each row.

    Ten million tokens take about ten seconds.

    Args:
      rows: training tokens. Give one long row for a text that was cut into rows.
      vocab_size: number of tokens, also of those that do not occur.
      order: length of the n-grams; 3 for trigrams.

    Raises:
      ValueError: if the rows are too short, a token is not in the vocabulary, or
        n-grams of such a vocabulary do not fit into 63 bits.
    """
    _check(rows, vocab_size, order)
    codes, counts = np.unique(_codes(rows, vocab_size, order), return_counts=True)
    orders = [_discount(codes, counts, vocab_size)]
    for length in range(order - 1, 0, -1):
      # Each distinct n-gram counts once for the shorter one that it ends in.
      codes, counts = np.unique(codes % vocab_size**length, return_counts=True)
      orders.append(_discount(codes, counts, vocab_size))
    return cls(vocab_size, tuple(reversed(orders)))

  def probabilities(
    self, ngrams: Integer[np.ndarray, 'N order']
  ) -> Float[np.ndarray, 'N']:
    """The probability of each n-gram's last token given those before it.

    Args:
      ngrams: up to as many tokens as the model's order; with fewer, the probability
        given the shorter context.
    """
    p = np.full(len(ngrams), 1 / self.vocab_size)
    for length, order in enumerate(self.orders[: ngrams.shape[1]], 1):
      codes = _codes(ngrams[:, -length:], self.vocab_size, length)[:, 0]
      p = order.interpolate(codes, self.vocab_size, p)
    return p

  def losses(
    self, rows: Integer[np.ndarray, 'rows T']
  ) -> Float[np.ndarray, 'rows T-1']:
    """Loss in nats of each token but the first of each row.

    Entry `[b, t]` is the loss of `rows[b, t + 1]`, as for a language model that sees
    nothing before the row. Tokens near a row's start have a shorter context.

    Args:
      rows: tokens.
    """
    p = np.full((len(rows), rows.shape[1] - 1), 1 / self.vocab_size)
    for length, order in enumerate(self.orders, 1):
      codes = _codes(rows, self.vocab_size, length)
      first = max(length - 2, 0)  # The first target with this much context.
      codes = codes[:, 1:] if length == 1 else codes
      p[:, first:] = order.interpolate(codes, self.vocab_size, p[:, first:])
    return -np.log(p)

  def held_out_loss(self, rows: Integer[np.ndarray, 'rows T']) -> float:
    """The mean of `losses`: nats per token.

    Args:
      rows: tokens that the model was not fitted on.
    """
    return float(self.losses(rows).mean())


def _codes(rows: np.ndarray, vocab: int, length: int) -> np.ndarray:
  """The n-grams of each row as integers, `[rows, T - length + 1]`."""
  rows = rows.astype(np.int64)
  count = rows.shape[1] - length + 1
  codes = np.zeros((len(rows), count), np.int64)
  for offset in range(length):
    codes = codes * vocab + rows[:, offset : offset + count]
  return codes


def _discount(codes: np.ndarray, counts: np.ndarray, vocab: int) -> _Order:
  contexts, start = np.unique(codes // vocab, return_index=True)
  discounts = _discounts(counts)[np.minimum(counts, 3)]
  totals = np.add.reduceat(counts, start)
  freed = np.add.reduceat(discounts, start) / totals
  sizes = np.diff(np.append(start, len(codes)))
  return _Order(codes, (counts - discounts) / np.repeat(totals, sizes), contexts, freed)


def _discounts(counts: np.ndarray) -> np.ndarray:
  """`[0, D1, D2, D3+]` by the closed forms of Chen & Goodman, equation 26."""
  n1, n2, n3, n4 = (int(np.count_nonzero(counts == i)) for i in range(1, 5))
  if not all((n1, n2, n3, n4)):
    return np.array([0.0, *[FALLBACK_DISCOUNT] * 3])
  y = n1 / (n1 + 2 * n2)
  found = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
  # On little data the closed forms may leave the range in which they make sense.
  return np.array([0.0, *np.clip(found, 0.0, [1.0, 2.0, 3.0])])


def _look_up(
  keys: np.ndarray, values: np.ndarray, wanted: np.ndarray, missing: float
) -> np.ndarray:
  at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
  return np.where(keys[at] == wanted, values[at], missing)


def _check(rows: np.ndarray, vocab_size: int, order: int) -> None:
  if order < 1 or rows.shape[1] < order or not len(rows):
    raise ValueError(
      f'Rows of shape {rows.shape} hold no n-grams of length {order}. Give longer rows'
      ' or a lower order (at least 1).'
    )
  if int(rows.max()) >= vocab_size:
    raise ValueError(
      f'There is a token {int(rows.max())}, but vocab_size is {vocab_size}. Give the'
      " tokenizer's number of tokens."
    )
  if vocab_size**order >= 2**63:
    raise ValueError(
      f'N-grams of length {order} over {vocab_size} tokens do not fit into 63 bits.'
      ' Give a lower order.'
    )
