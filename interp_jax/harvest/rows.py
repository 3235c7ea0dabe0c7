"""Which tokens become rows, in which order, and where each comes from."""

from collections.abc import Iterator
import dataclasses
from typing import Any

from jaxtyping import Bool, Int, Integer
import numpy as np

_ROWS_AT_ONCE = 4096


@dataclasses.dataclass(frozen=True)
class Batch:
  """What one call of the model takes, and what becomes of its result.

  Attributes:
    tokens: `[B, T]`; short batches are filled up, so that one program serves all.
    mask: False at padding, `[B, T]`; None if there is none.
    keep: Which tokens become rows, `[B, T]`, none of the filling.
    provenance: Document, position and token of each kept token, `[n, 3]`.
  """

  tokens: Integer[np.ndarray, 'B T']
  mask: Bool[np.ndarray, 'B T'] | None
  keep: Bool[np.ndarray, 'B T']
  provenance: Int[np.ndarray, 'n 3']


@dataclasses.dataclass(frozen=True)
class Sequences:
  """The tokens of a harvest, which may be memory-mapped.

  Attributes:
    tokens: `[sequences, T]`.
    mask: False at padding, `[sequences, T]`; None if there is none.
    documents: Document of each sequence or of each token; None for the sequence's
      index.
    positions: Position of each token in its document; None for its position in the
      sequence.
    drop_first: How many tokens at the start of each sequence are left out.
  """

  tokens: Integer[np.ndarray, 'n T']
  mask: Bool[np.ndarray, 'n T'] | None = None
  documents: Int[np.ndarray, 'n'] | Int[np.ndarray, 'n T'] | None = None
  positions: Int[np.ndarray, 'n T'] | None = None
  drop_first: int = 0

  def __post_init__(self) -> None:
    shape = self.tokens.shape
    if 0 in shape or not 0 <= self.drop_first < shape[1]:
      raise ValueError(
        f'tokens of shape {shape} and drop_first={self.drop_first} leave no rows: '
        'drop_first must be in [0, T).'
      )
    for name in ('mask', 'documents', 'positions'):
      array = getattr(self, name)
      allowed = [shape, shape[:1]] if name == 'documents' else [shape]
      if array is not None and array.shape not in allowed:
        raise ValueError(
          f'{name} has shape {array.shape}; tokens of shape {shape} need '
          f'{" or ".join(map(str, allowed))}.'
        )

  def __len__(self) -> int:
    return len(self.tokens)

  def keep(self, start: int, stop: int) -> Bool[np.ndarray, 'n T']:
    """Which tokens of these sequences become rows."""
    stop = min(stop, len(self))
    if self.mask is None:
      keep = np.ones((stop - start, self.tokens.shape[1]), bool)
    else:
      keep = np.array(self.mask[start:stop], bool)
    # The first tokens are counted after the padding, which may stand on the left.
    return keep & (np.cumsum(keep, axis=1) > self.drop_first)

  def count(self) -> Int[np.ndarray, 'n']:
    """How many rows each sequence gives."""
    if self.mask is None:
      return np.full(len(self), self.tokens.shape[1] - self.drop_first)
    counts = [
      self.keep(start, start + _ROWS_AT_ONCE).sum(axis=1)
      for start in range(0, len(self), _ROWS_AT_ONCE)
    ]
    return np.concatenate(counts)

  def check_vocabulary(self, size: int) -> None:
    """Raises if there is a token that a model of so many tokens does not have.

    Raises:
      ValueError: that says which; inside a compiled program, the embedding of such a
        token is silently another's.
    """
    for start in range(0, len(self), _ROWS_AT_ONCE):
      tokens = self.tokens[start : start + _ROWS_AT_ONCE]
      low, high = int(tokens.min()), int(tokens.max())
      if low < 0 or high >= size:
        raise ValueError(
          f'tokens are {low}..{high} in sequences from {start} on; the model has '
          f'tokens 0..{size - 1}.'
        )

  def select(self, indices: Int[np.ndarray, 'm']) -> 'Sequences':
    """Some of the sequences, in memory."""
    arrays = {
      name: None if array is None else np.asarray(array[indices])
      for name, array in (
        ('mask', self.mask),
        ('documents', self.documents),
        ('positions', self.positions),
      )
    }
    if self.documents is None:
      arrays['documents'] = np.asarray(indices)
    tokens = np.asarray(self.tokens[indices])
    return Sequences(tokens, drop_first=self.drop_first, **arrays)

  def batch(self, start: int, size: int) -> Batch:
    """The batch that begins with this sequence."""
    stop = min(start + size, len(self))
    keep = self.keep(start, stop)
    mask = None if self.mask is None else np.asarray(self.mask[start:stop])
    return Batch(
      tokens=_fill(np.asarray(self.tokens[start:stop]), size),
      mask=None if mask is None else _fill(mask, size),
      keep=np.pad(keep, [(0, size - len(keep)), (0, 0)]),
      provenance=self._provenance(start, stop)[keep],
    )

  def batches(
    self, size: int, start: int = 0, stop: int | None = None
  ) -> Iterator[tuple[Batch, slice]]:
    """The batches that have the rows from `start` to `stop`.

    A batch begins with the same sequence whether or not an earlier process was
    killed, and whichever rows other processes have, so that its activations are the
    same to the last bit.

    Args:
      size: Sequences of a batch.
      start: The first row that is asked for.
      stop: The row after the last; None for all.

    Yields:
      A batch, and which of its rows are asked for.
    """
    ends = np.cumsum(self.count())
    stop = int(ends[-1]) if stop is None else stop
    if start >= stop:
      return
    first = int(np.searchsorted(ends, start, side='right')) // size * size
    for sequence in range(first, len(self), size):
      before = int(ends[sequence - 1]) if sequence else 0
      if before >= stop:
        return
      # numpy cuts the slice off at the batch's last row.
      yield self.batch(sequence, size), slice(max(0, start - before), stop - before)

  def _provenance(self, start: int, stop: int) -> Int[np.ndarray, 'n T 3']:
    tokens = np.asarray(self.tokens[start:stop])
    documents = np.arange(start, stop)
    if self.documents is not None:
      documents = np.asarray(self.documents[start:stop])
    if documents.ndim == 1:
      documents = documents[:, None]
    positions = np.arange(tokens.shape[1])
    if self.positions is not None:
      positions = np.asarray(self.positions[start:stop])
    columns = np.broadcast_arrays(documents, positions, tokens)
    return np.stack(columns, axis=-1).astype(np.int64)


def as_sequences(
  tokens: Any, mask: Any, documents: Any, positions: Any, drop_first: int
) -> Sequences:
  """The sequences that a caller gives in one of two ways.

  Args:
    tokens: Token ids `[n, T]`, or `Sequences`.
    mask: As `Sequences` has it.
    documents: Likewise.
    positions: Likewise.
    drop_first: Likewise.

  Raises:
    ValueError: if `Sequences` and what they hold are given, or shapes do not fit.
  """
  beside = {'mask': mask, 'documents': documents, 'positions': positions}
  if not isinstance(tokens, Sequences):
    arrays = {k: None if v is None else np.asarray(v) for k, v in beside.items()}
    return Sequences(np.asarray(tokens), drop_first=drop_first, **arrays)
  twice = [name for name, value in beside.items() if value is not None]
  if twice:
    raise ValueError(
      f'{", ".join(twice)}: the Sequences that are given have their own.'
    )
  return dataclasses.replace(tokens, drop_first=drop_first)


def _fill(rows: np.ndarray, size: int) -> np.ndarray:
  """Repeats the last sequence until the batch is full."""
  return np.pad(rows, [(0, size - len(rows)), (0, 0)], mode='edge')
