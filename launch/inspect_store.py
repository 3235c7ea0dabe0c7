"""What is in an activation dataset, whether it is sound, and a few of its rows.

    python launch/inspect_store.py DIR [--rows=5] [--tokenizer=NAME] [--noverify]

DIR is a folder or a URL (`s3://...`, `gs://...`). Prints the arrays, what is known of
their origin, and their statistics; reads every chunk and names those that are damaged,
in which case the exit status is 1; and shows some rows, each with the text that leads
up to it. The tokenizer is the one that the dataset names, or `--tokenizer`: an embedded
model, or a `tokenizer.json`, or a folder with one. To read every chunk of 10 GB takes
about 10 seconds from a fast disk.
"""

from collections.abc import Iterator, Sequence
import json
import pathlib
from typing import Any

from absl import app, flags
import numpy as np

from interp_jax import models, store

ROWS = flags.DEFINE_integer('rows', 5, 'How many rows to show.')
CONTEXT = flags.DEFINE_integer('context', 16, 'Tokens to show before each row.')
SEED = flags.DEFINE_integer('seed', 0, 'Of the choice of rows.')
VERIFY = flags.DEFINE_boolean('verify', True, 'Read and check every chunk.')
TOKENIZER = flags.DEFINE_string('tokenizer', None, 'Embedded model, file or folder.')

LONG = 100  # Characters of metadata that are shown of one entry.


def main(argv: Sequence[str]) -> int:
  """Prints; returns the exit status."""
  if len(argv) != 2:
    raise app.UsageError('Give one dataset: a folder or a URL.')
  try:
    reader = store.Reader(argv[1])
    print('\n'.join([*describe(reader), '', *statistics(reader)]))
    if ROWS.value:
      tokenizer = find_tokenizer(TOKENIZER.value, reader.manifest.metadata)
      print('\n'.join(['', *samples(reader, tokenizer, ROWS.value, CONTEXT.value)]))
    return check(reader) if VERIFY.value else 0
  except store.StoreError as error:
    print(f'{type(error).__name__}: {error}')
    return 1


def describe(reader: store.Reader) -> Iterator[str]:
  """What the dataset is."""
  manifest, schema = reader.manifest, reader.manifest.schema
  size = len(reader) * schema.row_bytes
  yield f'{reader.path}: {len(reader):,} rows, {size / 1e9:.3f} GB'
  if manifest.description:
    yield manifest.description
  yield (
    f'{schema.shards(len(reader)):,} shards of {schema.shard_rows:,} rows, in chunks '
    f'of {schema.chunk_rows:,}'
  )
  documents = manifest.documents
  yield f'documents {documents.min()} to {documents.max()}'
  for key, value in manifest.metadata.items():
    text = json.dumps(value)
    yield f'{key}: {text[:LONG]}{" ..." if len(text) > LONG else ""}'


def statistics(reader: store.Reader) -> Iterator[str]:
  """A line for each array."""
  schema = reader.manifest.schema
  wide = max(len(name) for name in (*reader.names, 'array'))
  yield (
    f'{"array":{wide}} {"row":>12} {"stored":>8} {"B/row":>7} {"mean norm":>10} '
    f'{"|mean|":>10} {"variance":>10} {"error":>8}'
  )
  for spec in schema.arrays:
    s = reader.statistics(spec.name)
    shape = 'x'.join(map(str, spec.shape)) or '1'
    yield (
      f'{spec.name:{wide}} {shape:>12} {spec.dtype:>8} {spec.row_bytes:7,} '
      f'{s.mean_norm:10.4g} {np.linalg.norm(s.mean):10.4g} {s.total_variance:10.4g} '
      f'{s.relative_error:8.2%}'
    )
  yield (
    'variance: mean squared distance from the mean row; error: of storing, relative '
    'to the norm'
  )


def samples(
  reader: store.Reader, tokenizer: Any, rows: int, context: int
) -> Iterator[str]:
  """Some rows from all over the dataset, each with the text that leads up to it."""
  rng = np.random.default_rng(SEED.value)
  chosen = np.sort(rng.choice(len(reader), min(rows, len(reader)), replace=False))
  for row in chosen.tolist():
    start = max(0, row - context)
    before = reader.numpy('provenance', start, row + 1)
    document, position, token = before[-1].tolist()
    tokens = before[before[:, 0] == document, 2]
    yield f'row {row:,}: document {document}, position {position}, token {token}'
    if tokenizer is not None:
      *left, last = tokenizer.token_strings(tokens.tolist())
      yield f'  {"".join(left)!r} -> {last!r}'
    for name in reader.names:
      x = reader.rows([row], name)[0].astype(np.float64).ravel()
      first = ' '.join(f'{value:.3g}' for value in x[:6])
      yield f'  {name}: norm {np.linalg.norm(x):.4g}, {first}{" ..." * (x.size > 6)}'


def check(reader: store.Reader) -> int:
  """Reads everything and prints what is damaged; returns the exit status."""
  damages = reader.verify()
  schema = reader.manifest.schema
  chunks = -(-len(reader) // schema.chunk_rows) * len(schema.parts)
  print()
  for damage in damages:
    print(damage)
  if damages:
    print(f'DAMAGED: {len(damages):,} of {chunks:,} chunks. Write the dataset again.')
    return 1
  print(f'sound: {chunks:,} chunks were read and have their checksums.')
  return 0


def find_tokenizer(asked: str | None, metadata: Any) -> models.Tokenizer | None:
  """The tokenizer that was asked for, or the one that the dataset names, if any."""
  if asked is not None:
    return load_tokenizer(asked)
  for name in (metadata.get('tokenizer'), metadata.get('model')):
    if isinstance(name, str) and name:
      try:
        return load_tokenizer(name)
      except (FileNotFoundError, ValueError):
        continue
  print('\nThe dataset names no tokenizer that is here: --tokenizer shows the text.')
  return None


def load_tokenizer(name: str) -> models.Tokenizer:
  """By the name of an embedded model, or by a file or folder."""
  if name in models.list_models():
    return models.load(name)[2]
  path = pathlib.Path(name)
  return models.Tokenizer.from_file(path / 'tokenizer.json' if path.is_dir() else path)


if __name__ == '__main__':
  app.run(main)
