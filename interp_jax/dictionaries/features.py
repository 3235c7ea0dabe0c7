"""What features mean: where they are strongest, how often, and what they promote."""

from collections.abc import Sequence
import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np
import tqdm

from interp_jax.dictionaries.dictionary import Dictionary
from interp_jax.store import Reader


@dataclasses.dataclass(frozen=True)
class Examples:
  """The rows of a dataset on which each feature is strongest.

  Attributes:
    features: `[C]`, which features.
    values: `[C, n]`, their codes, largest first; 0 where a feature was active fewer
      than n times.
    rows: `[C, n]`, the rows of the dataset; -1 there.
    provenance: `[C, n, 3]`, document, position and token of each; -1 there.
    density: `[C]`, share of all rows in which each feature is active.
    mean: `[C]`, mean code over the rows in which it is active; 0 if there is none.
    count: How many rows were read.
  """

  features: Int[np.ndarray, ' C']
  values: Float[np.ndarray, 'C n']
  rows: Int[np.ndarray, 'C n']
  provenance: Int[np.ndarray, 'C n 3']
  density: Float[np.ndarray, ' C']
  mean: Float[np.ndarray, ' C']
  count: int


class Strongest:
  """Keeps the n largest values of each feature while rows stream by.

  Memory is `C * n`, whatever the number of rows. Ties go to the earlier row, so that
  the result does not depend on how the rows are split.
  """

  def __init__(self, features: int, n: int):
    """Nothing seen yet.

    Args:
      features: How many features.
      n: How many values to keep of each.
    """
    self.values = np.zeros((features, n), np.float32)
    self.rows = np.full((features, n), -1, np.int64)
    self.active = np.zeros(features, np.int64)
    self.total = np.zeros(features, np.float64)

  def add(
    self,
    features: Int[np.ndarray, ' M'],
    values: Float[np.ndarray, ' M'],
    rows: Int[np.ndarray, ' M'],
  ) -> None:
    """Counts in M positive codes: their features, values and rows.

    Rows must come in ascending order over the calls.
    """
    count = len(self.active)
    self.active += np.bincount(features, minlength=count)
    self.total += np.bincount(features, values.astype(np.float64), minlength=count)
    # Most codes do not reach what is kept already: only the others are sorted.
    strong = values > self.values[features, -1]
    features, values, rows = features[strong], values[strong], rows[strong]
    touched = np.unique(features)
    kept = self.values[touched].ravel(), self.rows[touched].ravel()
    n = self.values.shape[1]
    owner = np.concatenate([np.repeat(touched, n), features])
    value = np.concatenate([kept[0], values])
    row = np.concatenate([kept[1], rows])
    # Stable: what is kept, and so earlier, comes before what is new.
    order = np.lexsort((-value, owner))
    owner, value, row = owner[order], value[order], row[order]
    place = np.arange(len(owner)) - np.searchsorted(owner, owner)
    best = place < n
    self.values[owner[best], place[best]] = value[best]
    self.rows[owner[best], place[best]] = row[best]


@jax.jit
def _sparse(dictionary: Dictionary, x: Float[Array, 'B D']) -> tuple[Array, Array]:
  return dictionary.encode_sparse(x)


@jax.jit
def _dense(dictionary: Dictionary, x: Float[Array, 'B D']) -> Float[Array, 'B F']:
  return dictionary.encode(x)


def _codes(dictionary: Dictionary, x: np.ndarray) -> tuple[np.ndarray, ...]:
  """The positive codes of some rows: row, feature, value."""
  if dictionary.config.activation.sparse_k is None:
    dense = np.asarray(_dense(dictionary, x))
    row, feature = np.nonzero(dense > 0)
    return row, feature, dense[row, feature]
  values, indices = jax.device_get(_sparse(dictionary, x))
  row, slot = np.nonzero(values > 0)
  return row, indices[row, slot], values[row, slot]


def strongest_examples(
  dictionary: Dictionary,
  reader: Reader,
  features: Int[np.ndarray, ' C'] | Sequence[int] | None = None,
  n: int = 10,
  *,
  array: str | None = None,
  batch_rows: int = 4096,
  stop: int | None = None,
  progress: bool = False,
) -> Examples:
  """Streams over a dataset and finds where features are strongest.

  Args:
    dictionary: The dictionary.
    reader: The dataset.
    features: Which features; None for all.
    n: How many rows of each to keep.
    array: Which array of the dataset; None for its only one.
    batch_rows: Rows encoded at a time.
    stop: Read only so many rows; None for all.
    progress: Whether to show a progress bar.

  Returns:
    The rows, values and densities.

  Raises:
    ValueError: if a feature does not exist.
  """
  width = dictionary.config.features
  chosen = np.arange(width) if features is None else np.asarray(features, int)
  if chosen.size and not 0 <= chosen.min() <= chosen.max() < width:
    raise ValueError(f'features {chosen.tolist()}: the dictionary has 0..{width - 1}.')
  total = len(reader) if stop is None else min(stop, len(reader))
  best = Strongest(width, n)
  wanted = np.zeros(width, bool)
  wanted[chosen] = True
  starts = range(0, total, batch_rows)
  for start in tqdm.tqdm(starts, 'encoding rows', disable=not progress):
    x = reader.numpy(array, start, min(start + batch_rows, total))
    row, feature, value = _codes(dictionary, x)
    keep = wanted[feature]
    best.add(feature[keep], value[keep], start + row[keep])
  rows = best.rows[chosen]
  return Examples(
    features=chosen,
    values=best.values[chosen],
    rows=rows,
    provenance=_provenance(reader, rows),
    density=best.active[chosen] / max(total, 1),
    mean=best.total[chosen] / np.maximum(best.active[chosen], 1),
    count=total,
  )


def _provenance(reader: Reader, rows: Int[np.ndarray, 'C n']) -> np.ndarray:
  """Document, position and token of rows, -1 where the row is -1."""
  found = np.full((*rows.shape, 3), -1, np.int64)
  known = rows >= 0
  # Each row once and in order: neighbours share a chunk.
  unique, back = np.unique(rows[known], return_inverse=True)
  if unique.size:
    found[known] = reader.provenance(unique)[back]
  return found


def clarity(
  examples: Examples, band: tuple[float, float] = (1e-4, 2e-2)
) -> Float[np.ndarray, ' C']:
  """How clear each feature is, from 0 to 1: the formula behind 'the clearest'.

      clarity = purity * contrast        within the band of densities, else 0
      purity = sum_t p_t^2               p_t: share of token t in the strongest examples
      contrast = 1 - mean code / mean strongest code

  Purity is the probability that two of the strongest examples are of one token.
  Contrast is high where the strongest examples stand out from the common ones: a
  feature that is on at one level everywhere says little. Features outside the band are
  too rare to judge or too frequent to name one thing.

  It measures what can be measured without a reader: features of contexts, which fire
  on many different tokens, can be clear to a person and score low here.

  Args:
    examples: From `strongest_examples`.
    band: Least and largest density.

  Returns:
    The score of each feature; 0 also where fewer than all n examples were found.
  """
  tokens = examples.provenance[..., 2]
  same = tokens[:, :, None] == tokens[:, None, :]
  purity = same.mean((1, 2))
  top = examples.values.mean(1)
  contrast = 1 - examples.mean / np.where(top > 0, top, 1)
  inside = (band[0] <= examples.density) & (examples.density <= band[1])
  inside &= (examples.rows >= 0).all(1)
  return np.where(inside, purity * np.clip(contrast, 0, 1), 0.0)


def clearest(
  examples: Examples, count: int, band: tuple[float, float] = (1e-4, 2e-2)
) -> Int[np.ndarray, ' C']:
  """Indices into `examples` of the clearest features, best first.

  Of features with the same most frequent token only the best is taken, so that the
  list shows different things. It is shorter than `count` where too few qualify.

  Args:
    examples: From `strongest_examples`.
    count: How many.
    band: As in `clarity`.
  """
  scores = clarity(examples, band)
  chosen: list[int] = []
  seen: set[int] = set()
  for index in np.argsort(-scores, kind='stable'):
    if len(chosen) == count or scores[index] <= 0:
      break
    tokens, counts = np.unique(examples.provenance[index, :, 2], return_counts=True)
    token = int(tokens[np.argmax(counts)])
    if token not in seen:
      seen.add(token)
      chosen.append(int(index))
  return np.array(chosen, int)


def promoted_tokens(
  dictionary: Dictionary,
  features: Int[np.ndarray, ' C'] | Sequence[int],
  unembedding: Float[Array | np.ndarray, 'D V'],
  n: int = 10,
) -> tuple[Int[np.ndarray, 'C n'], Float[np.ndarray, 'C n']]:
  """The tokens that features promote: direct logit attribution of decoder rows.

  The effect on the logits of one unit of feature f is taken to be
  `W_dec[f] @ unembedding`, less its mean over tokens (which no probability sees).
  The approximation: only the direct path to the output counts, not what later layers
  make of the feature, and the divisor of the final norm is held constant, so effects
  are up to that one factor, and comparable between tokens and features.

  Args:
    dictionary: A dictionary of the residual stream.
    features: Which features.
    unembedding: The matrix from the stream to the logits with the final norm's weight
      (and centring) folded in: `lenses.unembedding(params, cfg)`.
    n: How many tokens of each.

  Returns:
    Token ids, most promoted first, and their effects.

  Raises:
    ValueError: if the widths differ or n is larger than the vocabulary.
  """
  width, vocabulary = unembedding.shape
  if width != dictionary.config.width or not 1 <= n <= vocabulary:
    raise ValueError(
      f'promoted_tokens: unembedding has shape {tuple(unembedding.shape)}, n is {n}; '
      f'the dictionary has width {dictionary.config.width}, and n is 1 to {vocabulary}.'
    )
  rows = dictionary.params['W_dec'][np.asarray(features, int)]
  effect = rows @ jnp.asarray(unembedding, rows.dtype)
  values, ids = jax.lax.top_k(effect - effect.mean(-1, keepdims=True), n)
  return np.asarray(ids), np.asarray(values)
