"""Documents into sequences of equal length, with where each token comes from.

Every token keeps its document and its position there, counted over the document's own
tokens: the first is 0 whatever stands in front of it. A BOS (beginning of sequence)
that is put in front has position -1, padding has document and position -1.
"""

import dataclasses
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Int
import numpy as np

from interp_jax.core import unknown

# When a BOS is put in front: of each document, of each sequence, never.
BOS_POLICIES = ('document', 'sequence', 'none')
# Position of a BOS; document and position of padding.
NOWHERE = -1


@runtime_checkable
class TextTokenizer(Protocol):
  """What is asked of a tokenizer."""

  @property
  def bos_id(self) -> int | None: ...

  def encode(self, text: str) -> Any: ...


@dataclasses.dataclass(frozen=True)
class Layout:
  """How documents become sequences.

  Attributes:
    context: Length of a sequence `T`.
    packed: Whether documents follow each other without gaps and are cut wherever a
      sequence ends; what is left after the last is dropped. Else a sequence has tokens
      of one document only: long ones are cut into pieces, short ones are padded on
      the right, and an empty one gives no sequence.
    bos: When to put a BOS in front: one of `BOS_POLICIES`.
  """

  context: int
  packed: bool = True
  bos: str = 'document'

  def __post_init__(self) -> None:
    if self.bos not in BOS_POLICIES:
      raise ValueError(unknown('BOS policy', self.bos, BOS_POLICIES))
    if self.context < 1 + (self.bos != 'none'):
      raise ValueError(
        f'context={self.context} leaves no room for text; give at least '
        f'{1 + (self.bos != "none")}.'
      )


class Packer:
  """Cuts documents into sequences, `[n, T, 3]` of token, document and position.

  Attributes:
    rest: What did not fill a sequence yet, `[r, 3]`; the packer's whole state.
  """

  def __init__(self, layout: Layout, bos_id: int | None):
    """Starts with no rest.

    Raises:
      ValueError: if the layout needs a BOS and there is none.
    """
    if layout.bos != 'none' and bos_id is None:
      raise ValueError(
        f"bos={layout.bos!r}, but the tokenizer has no BOS. Give bos='none', or bos_id."
      )
    self._layout = layout
    self._bos = 0 if bos_id is None else bos_id
    self.rest: Int[np.ndarray, 'r 3'] = np.zeros((0, 3), np.int32)

  def add(self, document: int, ids: Int[np.ndarray, 'n']) -> Int[np.ndarray, 'm T 3']:
    """The sequences that are complete with this document, maybe none."""
    layout = self._layout
    rows = np.stack([ids, np.full(len(ids), document), np.arange(len(ids))], axis=-1)
    rows = rows.astype(np.int32)
    if layout.bos == 'document':
      rows = np.concatenate([self._before(rows[:1]), rows])
    size = layout.context - (layout.bos == 'sequence')
    rows = self._join(rows, size) if layout.packed else self._pad(rows, size)
    sequences = rows.reshape(-1, size, 3)
    if layout.bos == 'sequence':
      before = self._before(sequences[:, 0])
      sequences = np.concatenate([before[:, None], sequences], axis=1)
    return sequences

  def _join(self, rows: Int[np.ndarray, 'n 3'], size: int) -> Int[np.ndarray, 'm 3']:
    """Puts rows behind the rest; gives those of full sequences and keeps the others."""
    rows = np.concatenate([self.rest, rows])
    full = len(rows) // size * size
    self.rest = rows[full:]
    return rows[:full]

  def _pad(self, rows: Int[np.ndarray, 'n 3'], size: int) -> Int[np.ndarray, 'm 3']:
    padded = np.empty((-(-len(rows) // size) * size, 3), np.int32)
    padded[:] = (self._bos, NOWHERE, NOWHERE)
    padded[: len(rows)] = rows
    return padded

  def _before(self, first: Int[np.ndarray, 'm 3']) -> Int[np.ndarray, 'm 3']:
    """The BOS in front of each of these tokens."""
    bos = first.copy()
    bos[:, 0], bos[:, 2] = self._bos, NOWHERE
    return bos
