"""Writes and reads a dataset that is larger than the memory that it may use.

    python benchmarks/store_out_of_core.py [--gb=12] [--limit_gb=3] [--json=FILE]

Under a limit on its memory, writes a dataset, reads it contiguously by TensorStore
alone, and reads it in shuffled order for one full pass; and once more, in which every
row must come once, by a bitmap of the provenance, and hold what was written for it.
Prints rows and bytes per second, next to what the disk does alone, and the largest
memory. Before each pass but the checked one the dataset is dropped from the operating
system's cache. It is deleted at the end.

The limit is RLIMIT_AS: the kernel refuses memory beyond it, without rights that a
cgroup needs, and it counts all address space, so it is stricter than a limit on the
memory in use. It does not count the operating system's file cache, which a cgroup
would give back under pressure.

About four minutes for 12 GB on a disk of 300 MB/s.
"""

from collections.abc import Callable, Iterator
import json
import os
import pathlib
import resource
import shutil
import tempfile
import time

from absl import app, flags
import ml_dtypes
import numpy as np

from interp_jax import store

GB = flags.DEFINE_float('gb', 12.0, 'Size of the dataset in 10^9 bytes.')
LIMIT = flags.DEFINE_float('limit_gb', 3.0, 'Largest address space in 10^9 bytes.')
WIDTH = flags.DEFINE_integer('width', 768, 'Numbers in a row.')
DTYPE = flags.DEFINE_enum('dtype', 'bfloat16', ['bfloat16', 'float32', 'int8'], 'Type.')
BATCH = flags.DEFINE_integer('batch_size', 4096, 'Rows of a batch.')
ROUNDS = flags.DEFINE_integer('rounds', 1, 'How often to read; the best time counts.')
FOLDER = flags.DEFINE_string('dir', None, 'Where to make the dataset; None for here.')
JSON = flags.DEFINE_string('json', None, 'File to write the numbers to.')

NAME = 'resid_post.6'
POOL = 8192  # Different rows; each is written many times.
CONTEXT = 1024  # Rows of a document.
BLOCK = 2**25  # Bytes that the disk alone is read and written by.


def main(argv: list[str]) -> None:
  """Measures and prints."""
  if len(argv) > 1:
    raise app.UsageError(f'{argv[1]!r} is not a flag.')
  limit = int(LIMIT.value * 1e9)
  resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
  if FOLDER.value:
    pathlib.Path(FOLDER.value).mkdir(parents=True, exist_ok=True)
  scratch = pathlib.Path(
    tempfile.mkdtemp(prefix='store_out_of_core_', dir=FOLDER.value)
  )
  try:
    numbers = measure(scratch)
  finally:
    shutil.rmtree(scratch)
  if JSON.value:
    pathlib.Path(JSON.value).write_text(json.dumps(numbers, indent=2) + '\n')


def measure(scratch: pathlib.Path) -> dict[str, float]:
  """All passes."""
  spec = store.ArraySpec('resid_post', 6, (WIDTH.value,), DTYPE.value)
  schema = store.make_schema([spec])
  rows = int(GB.value * 1e9) // schema.row_bytes
  size = rows * schema.row_bytes
  print(
    f'{rows:,} rows of {schema.row_bytes:,} bytes ({DTYPE.value}, with provenance): '
    f'{size / 1e9:.2f} GB, under a limit of {LIMIT.value:g} GB of address space'
  )
  pool = make_pool()
  numbers: dict[str, float] = {'rows': rows, 'bytes': size}

  def timed(name: str, work: Callable[[], object], share: float = 1.0) -> None:
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    key = f'{name}, bytes/s'
    numbers[key] = max(numbers.get(key, 0.0), share * size / seconds)
    print(
      f'{name:38} {seconds:8.1f} s {share * rows / seconds:12,.0f} rows/s '
      f'{share * size / seconds / 1e6:8,.0f} MB/s'
    )

  part = min(1.0, 2e9 / size)
  timed('disk alone, write', lambda: write_plain(scratch / 'plain', part * size), part)
  (scratch / 'plain').unlink()
  timed('write', lambda: write(scratch / 'dataset', schema, rows, pool))
  reader = store.Reader(scratch / 'dataset')
  first = shuffled(reader)
  next(first)  # So that no import is timed.
  first.close()
  passes = {
    'disk alone, read': lambda: read_plain(scratch / 'dataset'),
    'TensorStore alone, contiguous': lambda: read_contiguous(reader),
    'shuffled': lambda: read_shuffled(reader),
  }
  for name in [*passes] * ROUNDS.value:
    forget(scratch / 'dataset')
    timed(name, passes[name])
  timed('shuffled, every row checked', lambda: check_shuffled(reader, pool))
  contiguous = numbers['TensorStore alone, contiguous, bytes/s']
  numbers['shuffled_read_share'] = numbers['shuffled, bytes/s'] / contiguous
  print(f'shuffled over contiguous: {numbers["shuffled_read_share"]:.2f}')
  numbers |= memory()
  print(
    f'largest memory in use {numbers["peak_resident_bytes"] / 1e9:.2f} GB, '
    f'largest address space {numbers["peak_address_space_bytes"] / 1e9:.2f} GB'
  )
  return numbers


def make_pool() -> np.ndarray:
  """Rows of normal numbers."""
  rows = np.random.default_rng(0).standard_normal((POOL, WIDTH.value), np.float32)
  return rows.astype(ml_dtypes.bfloat16) if DTYPE.value == 'bfloat16' else rows


def write(
  path: pathlib.Path, schema: store.Schema, rows: int, pool: np.ndarray
) -> None:
  """Row `i` is row `i % POOL` of the pool, and position `i % CONTEXT` of a document."""
  with store.Writer(path, schema, description='normal numbers') as writer:
    while writer.rows < rows:
      index = np.arange(writer.rows, min(writer.rows + POOL // 2, rows))
      where = np.stack([index // CONTEXT, index % CONTEXT, index % 50_000], axis=1)
      start = writer.rows % POOL
      writer.append({NAME: pool[start : start + len(index)]}, where)


def read_contiguous(reader: store.Reader) -> None:
  """What TensorStore gives for large slices, one after the other, of the same files."""
  schema = reader.manifest.schema
  step = 64 * schema.chunk_rows
  arrays = [part for name in (NAME, 'provenance') for part in reader.stored(name).parts]
  ahead: list[list] = []
  for start in range(0, len(reader), step):
    stop = min(start + step, len(reader))
    ahead.append([array[start:stop].read() for array in arrays])
    if len(ahead) > 2:
      [read.result() for read in ahead.pop(0)]
  for reads in ahead:
    [read.result() for read in reads]


def shuffled(reader: store.Reader) -> store.Batches:
  """One pass over everything, in batches."""
  return reader.batches(BATCH.value, 0, 1, arrays=[NAME, 'provenance'])


def read_shuffled(reader: store.Reader) -> None:
  """One pass."""
  for _ in shuffled(reader):
    pass


def check_shuffled(reader: store.Reader, pool: np.ndarray) -> None:
  """One pass; raises unless every row comes once and is what was written."""
  seen = np.zeros(len(reader), bool)
  # Half of the step between two of 255 numbers.
  tolerance = np.abs(pool).max() / 253 if DTYPE.value == 'int8' else 0
  for number, batch in enumerate(shuffled(reader)):
    document, position, token = batch['provenance'].astype(np.int64).T
    index = document * CONTEXT + position
    if seen[index].any() or (index % 50_000 != token).any():
      raise AssertionError('A row came twice, or with the token of another one.')
    seen[index] = True
    if number % 16 == 0:  # To compare all takes longer than to read them.
      written = pool[index % POOL].astype(np.float32)
      read = batch[NAME].astype(np.float32)
      np.testing.assert_allclose(read, written, rtol=0, atol=tolerance)
  if not seen.all():
    raise AssertionError(f'{int((~seen).sum()):,} rows never came.')


def write_plain(path: pathlib.Path, size: float) -> None:
  """One file of random bytes, to the disk and not only to the cache."""
  data = np.random.default_rng(0).bytes(BLOCK)
  with open(path, 'wb', buffering=0) as file:
    for _ in range(int(size) // BLOCK):
      file.write(data)
    os.fsync(file.fileno())


def read_plain(path: pathlib.Path) -> None:
  """Every file, from its beginning to its end."""
  buffer = bytearray(BLOCK)
  for name in files(path):
    with open(name, 'rb', buffering=0) as file:
      while file.readinto(buffer):
        pass


def forget(path: pathlib.Path) -> None:
  """Asks the operating system to drop files from its cache."""
  for name in files(path):
    descriptor = os.open(name, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def files(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """All files of a folder."""
  return (file for file in sorted(path.rglob('*')) if file.is_file())


def memory() -> dict[str, float]:
  """The largest memory of this process so far, as the kernel counted it."""
  lines = pathlib.Path('/proc/self/status').read_text().splitlines()
  sizes = {line.split()[0]: line.split()[1:] for line in lines}
  return {
    'peak_resident_bytes': 1024 * float(sizes['VmHWM:'][0]),
    'peak_address_space_bytes': 1024 * float(sizes['VmPeak:'][0]),
  }


if __name__ == '__main__':
  app.run(main)
