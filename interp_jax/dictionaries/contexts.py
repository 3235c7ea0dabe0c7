"""The text around the tokens on which a feature is strongest."""

import dataclasses

import jax
from jaxtyping import Array, Bool, Float, Int
import numpy as np

from interp_jax.dictionaries.dictionary import Dictionary
from interp_jax.dictionaries.features import Examples
from interp_jax.store import Reader


@dataclasses.dataclass(frozen=True)
class Context:
  """A stretch of a document, and a feature's activation on each of its tokens.

  Attributes:
    document: Which document.
    position: The position in the document of the token on which it is strongest.
    tokens: `[n]` token ids.
    values: `[n]` the feature's codes.
    peak: The index, within the stretch, of the token on which it is strongest.
  """

  document: int
  position: int
  tokens: Int[np.ndarray, ' n']
  values: Float[np.ndarray, ' n']
  peak: int


def contexts(
  dictionary: Dictionary,
  reader: Reader,
  examples: Examples,
  index: int,
  count: int = 4,
  before: int = 32,
  after: int = 16,
) -> list[Context]:
  """The strongest contexts of a feature, from different documents where there are.

  Args:
    dictionary: The dictionary.
    reader: The dataset that the examples are of.
    examples: From `strongest_examples`.
    index: Which entry of `examples.features`.
    count: How many contexts, at most.
    before: Tokens to show before the strongest, where the dataset has them.
    after: Tokens to show after it.

  Returns:
    The contexts, strongest first among those of different documents, then the others.
  """
  rows = _rows_by_document(examples, index)[:count]
  around = np.clip(rows[:, None] + np.arange(-before, after + 1), 0, len(reader) - 1)
  activations = reader.rows(around.ravel()).astype(np.float32)
  codes = np.asarray(_encode(dictionary, activations))[:, examples.features[index]]
  provenance = reader.provenance(around.ravel()).reshape(*around.shape, 3)
  found = []
  for row, near, where, values in zip(
    rows, around, provenance, codes.reshape(around.shape), strict=True
  ):
    peak = int(np.flatnonzero(near == row)[0])
    same = _neighbours(where, peak)
    document, position, _ = map(int, where[peak])
    start = int(same[:peak].sum())
    found.append(Context(document, position, where[same, 2], values[same], start))
  return found


@jax.jit
def _encode(dictionary: Dictionary, x: Float[Array, 'B D']) -> Float[Array, 'B F']:
  return dictionary.encode(x)


def _rows_by_document(examples: Examples, index: int) -> Int[np.ndarray, ' n']:
  """Rows of the strongest examples, the first of each document before the others."""
  there = examples.rows[index] >= 0
  documents = examples.provenance[index, there, 0]
  _, first = np.unique(documents, return_index=True)
  order = [*np.sort(first), *np.setdiff1d(np.arange(len(documents)), first)]
  return examples.rows[index][there][order]


def _neighbours(where: Int[np.ndarray, 'n 3'], peak: int) -> Bool[np.ndarray, ' n']:
  """Which rows are neighbours in the text: as far apart in it as in the dataset."""
  distance = where[:, 1] - where[peak, 1]
  return (where[:, 0] == where[peak, 0]) & (distance == np.arange(len(where)) - peak)
