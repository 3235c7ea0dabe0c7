"""The sequences of a harvest on disk: made once from documents, memory-mapped after.

Tokens are a thousandth of the activations that they give, so they are written down
before the model runs. Their number is then known, any process can begin at any of
them, and neither text nor tokens need fit in memory.
"""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import functools
import hashlib
import itertools
import json
import os
import pathlib
from typing import Any

import numpy as np
import tqdm

from interp_jax.harvest.errors import Stopped
from interp_jax.harvest.packing import Layout, Packer, TextTokenizer
from interp_jax.harvest.rows import Sequences
from interp_jax.harvest.sources import Document
from interp_jax.harvest.table import GrowingFile, GrowingTable

_CORPUS = 'corpus.json'
_PROGRESS = 'progress.json'
_NAMES = 'names.jsonl'
_COLUMNS = ('tokens', 'documents', 'positions')
# A process that is killed repeats up to so many tokens.
_SAVE_TOKENS = 2**22


@dataclasses.dataclass(frozen=True)
class Corpus:
  """Sequences of tokens, with where each token comes from.

  Attributes:
    path: The folder.
    settings: How it was made.
    sequences: The tokens, memory-mapped; what `harvest` and `stream` take.
  """

  path: pathlib.Path
  settings: Mapping[str, Any]
  sequences: Sequences

  @functools.cached_property
  def names(self) -> tuple[str, ...]:
    """Names of the documents, by the index that is their provenance."""
    with (self.path / _NAMES).open(encoding='utf-8') as lines:
      return tuple(json.loads(line) for line in lines)


def open_corpus(path: str | os.PathLike) -> Corpus:
  """Opens what `tokenize` wrote.

  Raises:
    FileNotFoundError: if the folder holds no finished corpus.
  """
  folder = pathlib.Path(path)
  if not (folder / _CORPUS).exists():
    state = 'an unfinished' if (folder / _PROGRESS).exists() else 'no'
    raise FileNotFoundError(f'{folder} holds {state} corpus. Make it with `tokenize`.')
  settings = json.loads((folder / _CORPUS).read_text(encoding='utf-8'))
  arrays = {name: np.load(folder / f'{name}.npy', mmap_mode='r') for name in _COLUMNS}
  mask = None
  if not settings['packed']:
    mask = np.load(folder / 'mask.npy', mmap_mode='r')
  return Corpus(folder, settings, Sequences(**arrays, mask=mask))


def tokenize(
  documents: Iterable[Document],
  path: str | os.PathLike,
  layout: Layout,
  tokenizer: TextTokenizer | None = None,
  *,
  bos_id: int | None = None,
  max_tokens: int | None = None,
  should_stop: Callable[[], bool] = lambda: False,
  progress: bool = True,
) -> Corpus:
  """Writes the sequences of some documents to a folder, or goes on writing them.

  Called again after it was killed, it goes on behind the last documents that it
  recorded; when the corpus is finished, it is only opened. The files are the same to
  the byte either way.

  Args:
    documents: A source: the same documents in the same order whenever it is iterated.
    path: The folder of the corpus.
    layout: How documents become sequences.
    tokenizer: What turns text into token ids; None if the documents are tokens.
    bos_id: The token that starts a sequence; None for the tokenizer's.
    max_tokens: Stop with the first sequences that have so many tokens, padding and
      BOS counted; None for all.
    should_stop: Asked after every document; True ends the work, recorded.
    progress: Whether to show a progress bar.

  Returns:
    The corpus.

  Raises:
    Stopped: if it was told to stop.
    ValueError: if the folder holds a corpus of other settings, tokens or documents, a
      document is text and there is no tokenizer, the layout needs a BOS and there is
      none, or there is no full sequence.
  """
  if bos_id is None and tokenizer is not None:
    bos_id = tokenizer.bos_id
  packer = Packer(layout, bos_id)
  settings = {
    **dataclasses.asdict(layout),
    'bos_id': bos_id,
    'max_tokens': max_tokens,
    'first_document': _digest(documents, tokenizer),
  }
  folder = pathlib.Path(path)
  if (folder / _CORPUS).exists():
    corpus = open_corpus(folder)
    _check_same(folder, corpus.settings, settings)
    return corpus
  folder.mkdir(parents=True, exist_ok=True)
  with _Writing(folder, settings, packer, max_tokens) as writing:
    rest = itertools.islice(documents, writing.documents, None)
    for document in tqdm.tqdm(
      rest, 'tokenize', initial=writing.documents, unit='doc', disable=not progress
    ):
      writing.add(document.name, encode(document, tokenizer))
      if writing.full:
        break
      if should_stop():
        writing.save()
        raise Stopped(f'tokenized {writing.documents} documents')
  return open_corpus(folder)


def encode(document: Document, tokenizer: TextTokenizer | None) -> np.ndarray:
  """The token ids of a document, `[n]`.

  Raises:
    ValueError: if it is text and there is no tokenizer, or it is neither.
  """
  content = document.content
  if isinstance(content, str):
    if tokenizer is None:
      raise ValueError(f'{document.name} is text: give the tokenizer to read it with.')
    content = tokenizer.encode(content)
  ids = np.asarray(content, np.int64 if len(content) == 0 else None)
  if ids.ndim != 1 or ids.dtype.kind not in 'iu':
    raise ValueError(
      f'{document.name} is neither text nor token ids: {ids.dtype} of shape '
      f'{ids.shape}.'
    )
  return ids.astype(np.int64)


class _Writing:
  """The files of a corpus while they grow, and what is recorded of them."""

  def __init__(
    self, folder: pathlib.Path, settings: dict, packer: Packer, limit: int | None
  ):
    self._folder, self._settings, self._packer = folder, settings, packer
    context = settings['context']
    self._limit = None if limit is None else -(-limit // context)
    found: dict[str, Any] = {'sequences': 0, 'documents': 0, 'names': 0, 'rest': []}
    if (folder / _PROGRESS).exists():
      saved = json.loads((folder / _PROGRESS).read_text(encoding='utf-8'))
      _check_same(folder, saved['settings'], settings)
      found |= saved
      packer.rest = np.array(saved['rest'], np.int32).reshape(-1, 3)
    self.documents: int = found['documents']
    self._sequences: int = found['sequences']
    self._saved = self._sequences
    kinds: dict[str, np.dtype] = {name: np.dtype(np.int32) for name in _COLUMNS}
    if not settings['packed']:
      kinds['mask'] = np.dtype(bool)
    self._tables = {
      name: GrowingTable(folder / f'{name}.npy', context, kind, self._sequences)
      for name, kind in kinds.items()
    }
    self._names = GrowingFile(folder / _NAMES, found['names'])

  @property
  def full(self) -> bool:
    return self._limit is not None and self._sequences >= self._limit

  def add(self, name: str, ids: np.ndarray) -> None:
    sequences = self._packer.add(self.documents, ids)
    if self._limit is not None:
      sequences = sequences[: self._limit - self._sequences]
    columns = dict(zip(_COLUMNS, np.moveaxis(sequences, -1, 0), strict=True))
    columns['mask'] = columns['documents'] >= 0
    for key, table in self._tables.items():
      table.append(columns[key])
    self._names.append(json.dumps(name).encode() + b'\n')
    self._sequences += len(sequences)
    self.documents += 1
    if (self._sequences - self._saved) * self._settings['context'] >= _SAVE_TOKENS:
      self.save()

  def save(self) -> None:
    """Records how far it is: what a later process goes on from."""
    for file in (*self._tables.values(), self._names):
      file.flush()
    record = {
      'settings': self._settings,
      'sequences': self._sequences,
      'documents': self.documents,
      'names': self._names.size,
      'rest': self._packer.rest.tolist(),
    }
    _write_json(self._folder / _PROGRESS, record)
    self._saved = self._sequences

  def __enter__(self) -> '_Writing':
    return self

  def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
    for table in self._tables.values():
      table.close()
    self._names.close()
    if kind is None:
      self._finish()

  def _finish(self) -> None:
    if not self._sequences:
      raise ValueError(
        f'{self.documents} documents do not fill one sequence of '
        f'{self._settings["context"]} tokens. Give more, or a shorter context.'
      )
    _write_json(self._folder / _CORPUS, self._settings)
    (self._folder / _PROGRESS).unlink(missing_ok=True)


def _digest(documents: Iterable[Document], tokenizer: TextTokenizer | None) -> str:
  """Of the first document's name and tokens: notices another source or tokenizer."""
  digest = hashlib.sha256()
  for document in itertools.islice(documents, 1):
    ids = encode(document, tokenizer)
    digest.update(document.name.encode() + b'\0' + ids.tobytes())
  return digest.hexdigest()[:32]


def _check_same(folder: pathlib.Path, there: Mapping, asked: Mapping) -> None:
  differences = [
    f'  {key}: there {there.get(key)!r}, asked for {asked.get(key)!r}'
    for key in sorted({*there, *asked})
    if there.get(key) != asked.get(key)
  ]
  if differences:
    raise ValueError(
      f'{folder} holds a corpus of other settings or documents:\n'
      + '\n'.join(differences)
      + '\nGive another folder, or delete it.'
    )


def _write_json(path: pathlib.Path, content: Any) -> None:
  partial = path.with_name(f'{path.name}.partial')
  partial.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')
  partial.replace(path)  # Atomic: it is never seen half written.
