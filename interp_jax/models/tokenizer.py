"""Text to tokens and back, over the `tokenizers` library."""

from collections.abc import Iterable
import os
from typing import Any, SupportsIndex

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

  def encode(self, text: str, bos: bool = False) -> list[int]:
    """The tokens of a text.

    Args:
      text: Any text.
      bos: Whether to put the first token of a sequence in front.

    Returns:
      The token ids.

    Raises:
      ValueError: if `bos` is asked of a tokenizer without such a token.
    """
    ids = self._tokenizer.encode(text, add_special_tokens=False).ids
    if not bos:
      return ids
    if self.bos_id is None:
      raise ValueError('encode: bos=True, but this tokenizer has no such token.')
    return [self.bos_id, *ids]

  def decode(self, ids: Iterable[SupportsIndex]) -> str:
    """The text of some tokens, special tokens spelled out."""
    return self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=False)

  def token_strings(self, ids: Iterable[SupportsIndex]) -> list[str]:
    """The text of each token on its own.

    A token that is part of a character shows as the replacement character.
    """
    return [self.decode([i]) for i in ids]
