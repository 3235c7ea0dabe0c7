"""Text to tokens and back, over the `tokenizers` library."""

from collections.abc import Iterable, Sequence
import os
from typing import Any, NoReturn, SupportsIndex

from jaxtyping import Bool, Int
import numpy as np

# What the first token of a sequence is called in the models that we know.
_BOS_NAMES = ('<|bos|>', '<bos>', '<s>', '<|begin_of_text|>', '<|endoftext|>', '[CLS]')


class Tokenizer:
  """A tokenizer read from a `tokenizer.json`.

  Text that spells a special token is text: only `bos_id` makes one.

  Attributes:
    vocab_size: Number of tokens `V`.
    bos_id: The token that starts a sequence, or None if there is none.
  """

  def __init__(self, tokenizer: Any):
    """Wraps a `tokenizers.Tokenizer`."""
    tokenizer.encode_special_tokens = True
    # Published files may cut texts, or fill them up, as some training once did.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    self._tokenizer = tokenizer
    self.vocab_size: int = tokenizer.get_vocab_size()
    ids = (tokenizer.token_to_id(name) for name in _BOS_NAMES)
    self.bos_id: int | None = next((i for i in ids if i is not None), None)

  @classmethod
  def from_file(cls, path: str | os.PathLike) -> 'Tokenizer':
    """Reads a `tokenizer.json`.

    Args:
      path: The file.

    Returns:
      The tokenizer.

    Raises:
      FileNotFoundError: if there is no such file.
    """
    import tokenizers

    if not os.path.isfile(path):
      raise FileNotFoundError(f'{path}: no such tokenizer.json.')
    return cls(tokenizers.Tokenizer.from_file(os.fspath(path)))

  def save(self, path: str | os.PathLike) -> None:
    """Writes the `tokenizer.json`."""
    self._tokenizer.save(os.fspath(path))

  def encode(self, text: str, bos: bool = False, template: bool = False) -> list[int]:
    """The tokens of a text.

    Args:
      text: Any text.
      bos: Whether to put the first token of a sequence in front.
      template: Whether to add the special tokens that the tokenizer's own template
        asks for, e.g. BERT's `[CLS] ... [SEP]`.

    Returns:
      The token ids.

    Raises:
      ValueError: if `bos` is asked of a tokenizer without such a token.
    """
    ids = self._tokenizer.encode(text, add_special_tokens=template).ids
    if not bos or (template and ids[:1] == [self.bos_id]):
      return ids
    if self.bos_id is None:
      raise ValueError('encode: bos=True, but this tokenizer has no such token.')
    return [self.bos_id, *ids]

  def batch(
    self,
    texts: Sequence[str],
    bos: bool = False,
    template: bool = False,
    side: str = 'right',
  ) -> tuple[Int[np.ndarray, 'B T'], Bool[np.ndarray, 'B T']]:
    """Texts of different lengths as one array, and its mask.

    Args:
      texts: The texts.
      bos: As in `encode`.
      template: As in `encode`.
      side: Where the padding stands, 'left' or 'right'.

    Returns:
      Tokens (0 at padding) and the mask, False at padding.

    Raises:
      ValueError: if the side is not one of the two.
    """
    if side not in ('left', 'right'):
      raise ValueError(f"batch: side={side!r}; padding stands 'left' or 'right'.")
    rows = [self.encode(text, bos, template) for text in texts]
    length = max(map(len, rows), default=0)
    tokens = np.zeros((len(rows), length), np.int32)
    mask = np.zeros((len(rows), length), bool)
    for row, ids in enumerate(rows):
      start = length - len(ids) if side == 'left' else 0
      tokens[row, start : start + len(ids)] = ids
      mask[row, start : start + len(ids)] = True
    return tokens, mask

  def decode(self, ids: Iterable[SupportsIndex]) -> str:
    """The text of some tokens, special tokens spelled out."""
    return self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=False)

  def token_strings(self, ids: Iterable[SupportsIndex]) -> list[str]:
    """The text of each token on its own.

    A token that is part of a character shows as the replacement character.
    """
    return [self.decode([i]) for i in ids]


class NoTokenizer(Tokenizer):
  """In the place of the tokenizer of a model that came without one."""

  def __init__(self, folder: os.PathLike):
    """Of a model's folder."""
    self._folder = folder

  def __getattr__(self, name: str) -> NoReturn:
    raise ValueError(
      f'{self._folder} has no tokenizer.json, so there is no tokenizer (asked for: '
      f'{name}). Give the model token ids, or put the file of its repository there.'
    )

  def save(self, path: str | os.PathLike) -> None:
    """There is nothing to write."""
