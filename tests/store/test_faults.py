import json
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from interp_jax import store

# Writes the dataset of conftest.py, one append for each line that it is sent, and all
# the rest when the lines end. The prelude may limit what it can do.
CHILD = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location('helpers', sys.argv[1])
helpers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(helpers)
from interp_jax import store
append = store.Writer.append
def when_told(*args):
  sys.stdin.readline()
  append(*args)
  print('appended', flush=True)
store.Writer.append = when_told
{prelude}
print('ready', flush=True)
try:
  helpers.write(sys.argv[2], rows=2000, step=11)
except store.FinishedError:
  pass
"""


def child(path: pathlib.Path, prelude: str = '') -> subprocess.Popen:
  """A process that writes the dataset, as far as it comes."""
  helpers = str(pathlib.Path(__file__).parent / 'conftest.py')
  process = subprocess.Popen(
    [sys.executable, '-c', CHILD.format(prelude=prelude), helpers, str(path)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    cwd=pathlib.Path(__file__).parents[2],
  )
  assert process.stdout.readline() == 'ready\n', process.stderr.read()
  return process


def test_killed_at_random_moments_it_resumes_to_the_same_bytes(tmp_path, helpers):
  helpers.write(tmp_path / 'whole', rows=2000)
  rng, shards = random.Random(0), []
  for _ in range(3):
    process = child(tmp_path / 'killed')
    process.stdin.write('\n' * 50)
    process.stdin.flush()
    for _ in range(rng.randint(10, 40)):
      process.stdout.readline()
    time.sleep(rng.uniform(0, 0.005))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    progress = tmp_path / 'killed' / 'progress.json'
    shards.append(json.loads(progress.read_text())['shards'])
  assert 0 < shards[0] < shards[1] < shards[2] < 2000 // 16
  process = child(tmp_path / 'killed')
  assert process.communicate()[1] == ''
  assert helpers.contents(tmp_path / 'killed') == helpers.contents(tmp_path / 'whole')


def test_a_full_disk_stops_with_a_clear_message_and_the_dataset_continues(
  tmp_path, helpers
):
  helpers.write(tmp_path / 'whole', rows=2000)
  # Every shard after the first few finds no room: the limit is on the size of a file.
  limit = """
import resource
write = store.Writer._write
def limited(self, start, shard):
  if start == 160:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
  write(self, start, shard)
store.Writer._write = limited
"""
  process = child(tmp_path / 'd', limit)
  error = process.communicate()[1]
  assert process.returncode == 1
  last = error.strip().splitlines()[-1]
  assert 'StoreError: Cannot write to' in last
  assert 'File too large' in last
  assert 'The first 160 rows are safe' in last
  process = child(tmp_path / 'd')
  assert process.communicate()[1] == ''
  assert helpers.contents(tmp_path / 'd') == helpers.contents(tmp_path / 'whole')


def flip(file: pathlib.Path, offset: int, bit: int = 0) -> None:
  data = bytearray(file.read_bytes())
  data[offset] ^= 1 << bit
  file.write_bytes(data)


def test_a_flipped_bit_of_a_chunk_is_found_and_named(dataset, helpers):
  rng = random.Random(0)
  payload = 4 * helpers.width * 4 + 4  # Rows, values, bytes; and the checksum.
  for _ in range(20):
    shard, chunk, within = rng.randrange(6), rng.randrange(4), rng.randrange(payload)
    file = dataset.path / 'resid_post.1' / 'c' / str(shard) / '0'
    offset, bit = chunk * payload + within, rng.randrange(8)
    flip(file, offset, bit)
    reader = store.Reader(dataset.path)
    number = shard * 4 + chunk
    assert [(d.array, d.chunk) for d in reader.verify()] == [('resid_post.1', number)]
    name = rf"chunk {number} \(rows {number * 4} to .*'resid_post.1/c/{shard}/0'"
    for read in (
      reader.numpy,
      lambda r=reader, n=number: r.rows([0, n * 4]),
      lambda r=reader: list(r.batches(8, seed=0, epochs=1)),
    ):
      with pytest.raises(store.DamagedError, match=name):
        read()
    flip(file, offset, bit)
  assert store.Reader(dataset.path).verify() == []


def test_a_flipped_bit_anywhere_is_never_read_as_data(dataset, helpers):
  rng, files = random.Random(1), sorted(helpers.contents(dataset.path))
  expected = dataset.numpy(['resid_post.1', 'provenance'])
  found = 0
  for _ in range(100):
    file = dataset.path / rng.choice(files)
    offset, bit = rng.randrange(file.stat().st_size), rng.randrange(8)
    flip(file, offset, bit)
    error = None
    try:
      reader = store.Reader(dataset.path)
      read = reader.numpy(['resid_post.1', 'provenance'])
      # What may change without notice is white space between JSON's tokens.
      assert reader.manifest.to_json() == dataset.manifest.to_json()
      for name, rows in expected.items():
        np.testing.assert_array_equal(read[name], rows)
      assert file.suffix == '.json'
    except store.StoreError as raised:
      error = str(raised)
      found += 1
    assert error is None or str(file.relative_to(dataset.path)) in error
    flip(file, offset, bit)
  assert found > 80


def test_a_missing_shard_is_an_error_not_zeros(dataset):
  (dataset.path / 'resid_post.1' / 'c' / '2' / '0').unlink()
  reader = store.Reader(dataset.path)
  assert [damage.chunk for damage in reader.verify()] == [8, 9, 10, 11]
  assert len(reader.numpy(stop=32)) == 32
  with pytest.raises(store.DamagedError, match=r'chunk 8 .*missing'):
    reader.numpy()


def test_a_folder_without_a_dataset_says_so(tmp_path):
  with pytest.raises(store.NotAStoreError, match=r'has no manifest\.json'):
    store.Reader(tmp_path)
  with pytest.raises(store.NotAStoreError, match=r'has no manifest\.json'):
    store.Reader(tmp_path / 'nowhere')
  (tmp_path / 'manifest.json').write_text('{"name": "an app"}')
  with pytest.raises(
    store.NotAStoreError, match=r'is not the manifest\.json of an act'
  ):
    store.Reader(tmp_path)
  (tmp_path / 'manifest.json').write_text('{')
  with pytest.raises(store.DamagedError, match=r'manifest\.json is damaged'):
    store.Reader(tmp_path)


@pytest.mark.parametrize('version', [0, 2])
def test_another_format_version_says_so(dataset, version):
  file = dataset.path / 'manifest.json'
  content = json.loads(file.read_text())
  file.write_text(json.dumps(content | {'format_version': version}))
  with pytest.raises(
    store.FormatVersionError, match=f'format version {version}, .* reads 1'
  ):
    store.Reader(dataset.path)


def test_a_missing_array_is_named(dataset):
  (dataset.path / 'provenance' / 'zarr.json').unlink()
  with pytest.raises(store.DamagedError, match=r'provenance/zarr\.json'):
    store.Reader(dataset.path)
