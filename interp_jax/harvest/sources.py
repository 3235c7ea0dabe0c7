"""Documents from files of text or of tokens, one after the other, never all at once.

A source is anything that can be iterated over, again and in the same order, and gives
`Document`s: a list does as well as the classes here. Folders are walked in the order
of their paths. Files that end in `.gz` are unpacked on the way.
"""

from collections.abc import Iterator
import dataclasses
import fnmatch
import gzip
import json
import os
import pathlib
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Document:
  """A text, or its tokens.

  Attributes:
    name: Where it comes from, e.g. `folder/file.jsonl:17`.
    content: The text, or token ids `[n]`.
  """

  name: str
  content: Any


@dataclasses.dataclass(frozen=True)
class TextFiles:
  """Text files: each file is a document, or each line.

  Attributes:
    path: A file, or a folder, which is walked with all its subfolders.
    pattern: Which files of a folder, matched against their names.
    lines: Whether each line is a document. A file is held in memory whole, a line
      alone: for files that are larger than memory.
    errors: What to do with bytes that are not UTF-8: `'strict'`, `'replace'` or
      `'ignore'`, as `bytes.decode` takes it.
  """

  path: str | os.PathLike
  pattern: str = '*.txt'
  lines: bool = False
  errors: str = 'strict'

  def __iter__(self) -> Iterator[Document]:
    for name, file in list_files(self.path, self.pattern):
      if self.lines:
        for number, line in enumerate(_lines(file), 1):
          yield self._decode(f'{name}:{number}', line.rstrip(b'\r\n'))
      else:
        with _open(file) as opened:
          yield self._decode(name, opened.read())

  def _decode(self, name: str, data: bytes) -> Document:
    try:
      return Document(name, data.decode('utf-8', self.errors))
    except UnicodeDecodeError as error:
      raise ValueError(
        f"{name} is not UTF-8: {error}. Give errors='replace' to go on."
      ) from None


@dataclasses.dataclass(frozen=True)
class JsonLines:
  """Files with a JSON object on each line, one field of which is the text.

  Attributes:
    path: A file, or a folder, which is walked with all its subfolders.
    pattern: Which files of a folder, matched against their names.
    field: The field. A list of integers in it is taken for token ids.
  """

  path: str | os.PathLike
  pattern: str = '*.jsonl'
  field: str = 'text'

  def __iter__(self) -> Iterator[Document]:
    for name, file in list_files(self.path, self.pattern):
      for number, line in enumerate(_lines(file), 1):
        if line.strip():
          yield Document(f'{name}:{number}', self._parse(f'{name}:{number}', line))

  def _parse(self, name: str, line: bytes) -> Any:
    try:
      record = json.loads(line)
    except ValueError as error:
      raise ValueError(f'{name} is not JSON: {error}.') from None
    found = sorted(record) if isinstance(record, dict) else type(record).__name__
    if not isinstance(record, dict) or self.field not in record:
      raise ValueError(
        f'{name} has no field {self.field!r}; it has {found}. Name the field that '
        'holds the text.'
      )
    return record[self.field]


@dataclasses.dataclass(frozen=True)
class TokenArrays:
  """Token ids in `.npy` files, memory-mapped: `[n]` is a document, `[m, n]` are m.

  Attributes:
    path: A file, or a folder, which is walked with all its subfolders.
    pattern: Which files of a folder, matched against their names.
  """

  path: str | os.PathLike
  pattern: str = '*.npy'

  def __iter__(self) -> Iterator[Document]:
    # A compressed file cannot be memory-mapped.
    for name, file in list_files(self.path, self.pattern, packed=False):
      array = np.load(file, mmap_mode='r', allow_pickle=False)
      if array.ndim not in (1, 2) or array.dtype.kind not in 'iu':
        raise ValueError(
          f'{name} holds {array.dtype} of shape {array.shape}; token ids are integers '
          'of shape [n] or [m, n].'
        )
      if array.ndim == 1:
        yield Document(name, array)
      else:
        for number, row in enumerate(array):
          yield Document(f'{name}:{number}', row)


def list_files(
  path: str | os.PathLike, pattern: str, packed: bool = True
) -> tuple[tuple[str, pathlib.Path], ...]:
  """The files of a source, in their order.

  Args:
    path: A file, or a folder, which is walked with all its subfolders.
    pattern: Which files of a folder, matched against their names.
    packed: Whether to match names less an ending `.gz` as well.

  Returns:
    Name (the path relative to the folder, with `/`) and path of each.

  Raises:
    FileNotFoundError: if there is none.
  """
  root = pathlib.Path(path)
  if root.is_file():
    return ((root.name, root),)
  found = []
  for folder, _, names in os.walk(root):
    relative = pathlib.Path(folder).relative_to(root)
    plain = {n: n.removesuffix('.gz') if packed else n for n in names}
    chosen = (n for n in names if fnmatch.fnmatch(plain[n], pattern))
    found += [((relative / name).as_posix(), root / relative / name) for name in chosen]
  if not found:
    raise FileNotFoundError(
      f'There is no file {pattern} in {root} or below it. Give a file, or a folder and '
      'a pattern that some of its files match.'
    )
  return tuple(sorted(found))


def _open(file: pathlib.Path) -> Any:
  """The file's bytes, unpacked; to be used in a `with`."""
  return gzip.open(file, 'rb') if file.suffix == '.gz' else file.open('rb')


def _lines(file: pathlib.Path) -> Iterator[bytes]:
  with _open(file) as opened:
    yield from opened
