"""The standard library of the running Python, as text and as packed tokens.

Every Python carries tens of megabytes of well-kept source code: a corpus that needs
no download and that anyone can reproduce. Files are found through `sysconfig`, put
into the train or the held-out split by a hash of their path, and packed into rows.

Packing keeps the stream of tokens whole: documents follow each other, each behind a
beginning-of-sequence token, and the stream is cut into rows of equal length. Where a
token came from is therefore arithmetic on the documents' starts in the stream.
"""

from collections.abc import Iterable, Sequence
import dataclasses
import hashlib
import os
import pathlib
import sysconfig
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Int, UInt16
import numpy as np

Split = Literal['train', 'held_out']
SPLITS = ('train', 'held_out')
HELD_OUT_FRACTION = 0.03
MAX_BYTES = 1_000_000
# Installed packages, byte-code, and the language reference: prose in one huge string.
_SKIPPED_FOLDERS = frozenset(
  {'site-packages', 'dist-packages', '__pycache__', 'pydoc_data'}
)


@runtime_checkable
class TextTokenizer(Protocol):
  """What this module asks of a tokenizer."""

  @property
  def bos_id(self) -> int | None: ...

  def encode(self, text: str) -> Sequence[int]: ...


class SourceFile(NamedTuple):
  """One document: its path relative to the root (with `/`), and its text."""

  path: str
  text: str


class Location(NamedTuple):
  """Where a packed token came from: a document, and the token's index in it.

  Index 0 is the document's beginning-of-sequence token, if the tokenizer has one.
  """

  document: int
  path: str
  position: int


@dataclasses.dataclass(frozen=True)
class PackedTokens:
  """Documents cut into rows of equal length, with where each token came from.

  Attributes:
    tokens: `[rows, context]` token ids.
    starts: `[documents]` index in the flattened rows of each document's first token.
    paths: the documents' paths.
  """

  tokens: UInt16[np.ndarray, 'rows context']
  starts: Int[np.ndarray, 'documents']
  paths: tuple[str, ...]

  def documents(self, rows: Int[np.ndarray, 'B']) -> Int[np.ndarray, 'B T']:
    """The document index of every token of the given rows."""
    return np.searchsorted(self.starts, self._stream_index(rows), side='right') - 1

  def positions(self, rows: Int[np.ndarray, 'B']) -> Int[np.ndarray, 'B T']:
    """The index within its document of every token of the given rows."""
    return self._stream_index(rows) - self.starts[self.documents(rows)]

  def locate(self, row: int, column: int) -> Location:
    """Says which document, and where in it, one packed token came from."""
    rows, context = self.tokens.shape
    if not (0 <= row < rows and 0 <= column < context):
      raise IndexError(
        f'({row}, {column}) is outside the packed tokens, which have {rows} rows of'
        f' {context} columns.'
      )
    document = int(self.documents(np.array([row]))[0, column])
    position = int(self.positions(np.array([row]))[0, column])
    return Location(document, self.paths[document], position)

  def _stream_index(self, rows: Int[np.ndarray, 'B']) -> Int[np.ndarray, 'B T']:
    context = self.tokens.shape[1]
    return np.asarray(rows)[:, None].astype(np.int64) * context + np.arange(context)


def stdlib_root() -> pathlib.Path:
  """The folder of the running Python's standard library.

  Raises:
    FileNotFoundError: if the standard library is not a folder of source files (an
      embedded Python may carry it as a zip file).
  """
  root = pathlib.Path(sysconfig.get_path('stdlib'))
  if not (root / 'os.py').is_file():
    raise FileNotFoundError(
      f'The standard library should be source files under {root}, but there is no'
      ' os.py there (it may be a zip file, or stripped of its sources). Give `root`:'
      ' any folder of Python files, for example the Lib folder of a CPython source'
      ' archive.'
    )
  return root


def list_files(root: str | os.PathLike[str] | None = None) -> tuple[str, ...]:
  """Sorted relative paths of the Python files under `root`.

  Installed packages, byte-code and `pydoc_data` (the language reference as one string,
  prose and not Python) are left out; tests are kept.

  Args:
    root: the folder to walk. The running Python's standard library by default.

  Raises:
    FileNotFoundError: if there is no Python file under `root`.
  """
  root = stdlib_root() if root is None else pathlib.Path(root)
  found = []
  for folder, subfolders, names in os.walk(root):
    subfolders[:] = [name for name in subfolders if name not in _SKIPPED_FOLDERS]
    relative = pathlib.Path(folder).relative_to(root)
    found += [(relative / name).as_posix() for name in names if name.endswith('.py')]
  if not found:
    raise FileNotFoundError(
      f'There is no Python file (*.py) under {root}. Give `root`: a folder of Python'
      ' files, or nothing for the standard library of the running Python.'
    )
  return tuple(sorted(found))


def split_of(path: str, held_out: float = HELD_OUT_FRACTION) -> Split:
  """The split that a relative path belongs to: a pure function of the path.

  A file keeps its split when others come or go, and on every machine.

  Args:
    path: relative path with `/` between its parts.
    held_out: nominal fraction of files held out.
  """
  digest = hashlib.sha256(path.encode()).digest()
  return 'held_out' if int.from_bytes(digest[:8]) < held_out * 2**64 else 'train'


def read_files(
  split: str,
  root: str | os.PathLike[str] | None = None,
  held_out: float = HELD_OUT_FRACTION,
  max_bytes: int = MAX_BYTES,
) -> tuple[SourceFile, ...]:
  """Reads the files of one split, in the order of their paths.

  Files that are empty, not UTF-8, or larger than `max_bytes` are left out. Text is
  kept as it is: line ends are not translated.

  Args:
    split: `'train'` or `'held_out'`.
    root: the folder to walk. The running Python's standard library by default.
    held_out: nominal fraction of files held out.
    max_bytes: size in bytes above which a file is left out.

  Raises:
    FileNotFoundError: if there is no Python file under `root`.
    ValueError: if `split` is not a split.
  """
  if split not in SPLITS:
    raise ValueError(f'split is {split!r}. It must be one of {", ".join(SPLITS)}.')
  root = stdlib_root() if root is None else pathlib.Path(root)
  chosen = (path for path in list_files(root) if split_of(path, held_out) == split)
  texts = ((path, _read_text(root / path, max_bytes)) for path in chosen)
  return tuple(SourceFile(path, text) for path, text in texts if text)


def _read_text(path: pathlib.Path, max_bytes: int) -> str | None:
  if path.stat().st_size > max_bytes:
    return None
  try:
    return path.read_bytes().decode('utf-8')
  except UnicodeDecodeError:  # Some of CPython's tests are about other encodings.
    return None


def sample_files(
  files: Sequence[SourceFile], characters: int, rng: np.random.Generator
) -> tuple[SourceFile, ...]:
  """Files drawn at random until they have so many characters, in their first order.

  Args:
    files: the files to draw from.
    characters: how many characters they should have together, at least; all files if
      they have fewer.
    rng: decides which files are drawn.
  """
  order = rng.permutation(len(files))
  before = np.cumsum([0, *(len(files[i].text) for i in order)])[:-1]
  return tuple(files[i] for i in np.sort(order[before < characters]))


def tokenize_files(
  files: Iterable[SourceFile], tokenizer: TextTokenizer, context: int
) -> PackedTokens:
  """Packs documents into rows of `context` tokens.

  Each document starts with the tokenizer's beginning-of-sequence token, if it has one.
  Documents run on over row ends; what is left at the end of the stream (less than a
  row) is dropped.

  Args:
    files: the documents.
    tokenizer: what turns text into ids below 65536.
    context: tokens in a row.

  Raises:
    ValueError: if the documents do not fill one row.
  """
  pieces, lengths, paths = [], [], []
  bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
  for file in files:
    ids = np.array([*bos, *tokenizer.encode(file.text)], np.uint16)
    pieces.append(ids)
    lengths.append(ids.size)
    paths.append(file.path)
  rows = sum(lengths) // context
  if rows == 0:
    raise ValueError(
      f'{len(paths)} documents of {sum(lengths)} tokens in all do not fill one row of'
      f' {context} tokens. Give more documents or a shorter context.'
    )
  stream = np.concatenate(pieces)[: rows * context]
  starts = np.cumsum([0, *lengths[:-1]])
  kept = int(np.searchsorted(starts, stream.size))  # Starts past the cut are dropped.
  return PackedTokens(stream.reshape(rows, context), starts[:kept], tuple(paths[:kept]))


def load_or_tokenize(
  cache: str | os.PathLike[str],
  files: Iterable[SourceFile],
  tokenizer: TextTokenizer,
  context: int,
) -> PackedTokens:
  """Like `tokenize_files`, through a cache on disk.

  The cache is one `.npz` file named by a hash of the documents, the context, and how
  the tokenizer encodes the beginnings of the documents: other documents or another
  tokenizer make another file.

  Args:
    cache: folder of the cache; made if it is not there.
    files: the documents.
    tokenizer: what turns text into ids below 65536.
    context: tokens in a row.
  """
  files = tuple(files)
  path = pathlib.Path(cache) / f'{_fingerprint(files, tokenizer, context)}.npz'
  if path.exists():
    with np.load(path, allow_pickle=False) as saved:
      paths = tuple(str(name) for name in saved['paths'])
      return PackedTokens(saved['tokens'], saved['starts'], paths)
  packed = tokenize_files(files, tokenizer, context)
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(f'.{path.stem}.{os.getpid()}.npz')
  np.savez(
    partial,
    tokens=packed.tokens,
    starts=packed.starts,
    paths=np.array(packed.paths),
  )
  partial.replace(path)  # Renaming is atomic: a half-written cache is never read.
  return packed


def _fingerprint(
  files: Sequence[SourceFile], tokenizer: TextTokenizer, context: int
) -> str:
  digest = hashlib.sha256(f'{context} {tokenizer.bos_id}'.encode())
  probe = ''.join(file.text[:300] for file in files[:300])
  digest.update(np.array(tokenizer.encode(probe), np.uint32).tobytes())
  for file in files:
    digest.update(hashlib.sha256(f'{file.path}\0{file.text}'.encode()).digest())
  return digest.hexdigest()[:20]
