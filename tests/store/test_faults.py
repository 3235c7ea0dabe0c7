import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from interp_jax import store
from interp_jax.store import folder

# Writes the dataset of conftest.py, one append for each line that it is sent, and all
# the rest when the lines end. The prelude may limit what it can do.
CHILD = """
import importlib.util, os, sys
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
write = store.Writer._write
def before_shard(self, start, shard):
  if start == 160:
    limit()
  write(self, start, shard)
store.Writer._write = before_shard
def limit():
  pass
{prelude}
print('ready', flush=True)
try:
  helpers.write(sys.argv[2], rows=2000, step=11)
except store.FinishedError:
  pass
"""


def child(path, helpers, prelude: str = '') -> subprocess.Popen:
  """A process that writes the dataset, as far as it comes."""
  process = subprocess.Popen(
    [sys.executable, '-c', CHILD.format(prelude=prelude), helpers.file, str(path)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    cwd=pathlib.Path(__file__).parents[2],
  )
  assert process.stdout.readline() == 'ready\n', process.stderr.read()
  return process


def recorded(path, helpers) -> int:
  return sum(name.endswith('.npz') for name in helpers.contents(path))


@pytest.mark.parametrize(
  'place', ['folder', pytest.param('s3', marks=pytest.mark.slow)], indirect=True
)
def test_killed_at_random_moments_it_resumes_to_the_same_bytes(place, helpers):
  helpers.write(place('whole'), rows=2000)
  rng, shards = random.Random(0), []
  for _ in range(3):
    process = child(place('killed'), helpers)
    process.stdin.write('\n' * 50)
    process.stdin.flush()
    for _ in range(rng.randint(10, 40)):
      process.stdout.readline()
    time.sleep(rng.uniform(0, 0.005))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    shards.append(recorded(place('killed'), helpers))
  assert 0 < shards[0] < shards[1] < shards[2] < 2000 // 16
  process = child(place('killed'), helpers)
  assert process.communicate()[1] == ''
  assert helpers.contents(place('killed')) == helpers.contents(place('whole'))


# What happens to a process that has written ten shards, and what it then says.
LIMITS = {
  'a full disk': (
    """
def limit():
  import resource
  resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
""",
    'File too large',
  ),
  'a disk that may not be written': (
    """
def limit():
  for folder, _, _ in os.walk(sys.argv[2]):
    os.chmod(folder, 0o555)
  if os.geteuid() == 0:
    os.seteuid(65534)
""",
    'Permission denied',
  ),
}


@pytest.mark.parametrize('limit', LIMITS)
def test_what_stops_the_writing_is_said_clearly_and_the_dataset_continues(
  tmp_path, helpers, limit
):
  helpers.write(tmp_path / 'whole', rows=2000)
  prelude, reason = LIMITS[limit]
  process = child(tmp_path / 'd', helpers, prelude)
  error = process.communicate()[1]
  assert process.returncode == 1
  last = error.strip().splitlines()[-1]
  assert 'StoreError: Cannot write to' in last
  assert reason in last
  assert 'The rows before 160 are safe' in last
  for path, _, _ in os.walk(tmp_path / 'd'):
    os.chmod(path, 0o755)
  process = child(tmp_path / 'd', helpers)
  assert process.communicate()[1] == ''
  assert helpers.contents(tmp_path / 'd') == helpers.contents(tmp_path / 'whole')


class Network:
  """Forwards a port of this machine to another one, until the cable is pulled."""

  def __init__(self, port: int):
    self._to = port
    self._listener = socket.create_server(('127.0.0.1', 0))
    self.port = self._listener.getsockname()[1]
    self.up = True
    self._open: list[socket.socket] = []
    threading.Thread(target=self._serve, daemon=True).start()

  def pull(self) -> None:
    self.up = False
    for connection in self._open:
      with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)

  def close(self) -> None:
    self.pull()
    self._listener.close()

  def _serve(self) -> None:
    with contextlib.suppress(OSError):
      while True:
        near, _ = self._listener.accept()
        if not self.up:
          near.close()
          continue
        far = socket.create_connection(('127.0.0.1', self._to))
        self._open += [near, far]
        for pair in ((near, far), (far, near)):
          threading.Thread(target=self._pump, args=pair, daemon=True).start()

  def _pump(self, source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
      while data := source.recv(2**16):
        sink.sendall(data)
    for side in (source, sink):
      with contextlib.suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)
      side.close()


@pytest.fixture
def network(s3, monkeypatch):
  network = Network(int(os.environ['AWS_ENDPOINT_URL'].rpartition(':')[2]))
  monkeypatch.setenv('AWS_ENDPOINT_URL', f'http://127.0.0.1:{network.port}')
  few = {'max_retries': 2, 'initial_delay': '1ms', 'max_delay': '10ms'}
  monkeypatch.setattr(folder, 'RETRIES', few)
  yield network
  network.close()


def test_a_network_that_fails_stops_with_a_message_and_the_dataset_continues(
  s3, network, helpers
):
  helpers.write(f'{s3}/whole')
  x, where = helpers.activations(100), helpers.provenance(100)
  writer = store.Writer(
    f'{s3}/cut', helpers.schema(), description='test', metadata={'seed': 0}, pending=0
  )
  writer.append({'resid_post.1': x[:40]}, where[:40])
  network.pull()
  with pytest.raises(
    store.StoreError, match=r'(?s)Cannot write to s3://.*rows before 32 are safe'
  ):
    writer.append({'resid_post.1': x[40:]}, where[40:])
  with pytest.raises(store.StoreError, match='Cannot write'):
    writer.close()
  with pytest.raises(store.StoreError, match=r'Cannot read s3://.*manifest\.json'):
    store.Reader(f'{s3}/whole')
  network.up = True
  helpers.write(f'{s3}/cut')
  assert helpers.contents(f'{s3}/cut') == helpers.contents(f'{s3}/whole')


def test_a_network_that_fails_is_not_taken_for_damage(s3, network, helpers):
  reader = helpers.write(f'{s3}/read')
  network.pull()
  for read in (reader.numpy, reader.verify, lambda: next(reader.batches(8, seed=0))):
    with pytest.raises(store.StoreError, match='Cannot read') as caught:
      read()
    assert not isinstance(caught.value, store.DamagedError)
  network.up = True
  # Reads that the batches began without the network may still be failing, and whoever
  # asks for the same shard's index meanwhile is answered by them.
  for _ in range(100):
    with contextlib.suppress(store.StoreError):
      assert reader.verify() == []
      return
    time.sleep(0.1)
  pytest.fail('The reader does not read again, though the network is there.')


def test_a_flipped_bit_of_a_chunk_is_found_and_named(dataset, helpers):
  rng = random.Random(0)
  payload = 4 * helpers.width * 4 + 4  # Rows, values, bytes; and the checksum.
  for _ in range(20):
    shard, chunk, within = rng.randrange(6), rng.randrange(4), rng.randrange(payload)
    file = f'resid_post.1/c/{shard}/0'
    offset, bit = chunk * payload + within, rng.randrange(8)
    helpers.flip(dataset.path, file, offset, bit)
    reader = store.Reader(dataset.path)
    number = shard * 4 + chunk
    assert [(d.array, d.chunk) for d in reader.verify()] == [('resid_post.1', number)]
    name = rf"chunk {number} \(rows {number * 4} to .*'resid_post.1/c/{shard}/0'"
    for read in (
      reader.numpy,
      lambda r=reader, n=number: r.rows([0, n * 4]),
      lambda r=reader: list(r.batches(8, seed=0, epochs=1)),
      lambda r=reader: r.view()[:],
    ):
      with pytest.raises(store.DamagedError, match=name):
        read()
    helpers.flip(dataset.path, file, offset, bit)
  assert store.Reader(dataset.path).verify() == []


@pytest.mark.parametrize('dtype', ['float32', 'int8'])
def test_a_flipped_bit_anywhere_is_detected_and_its_file_named(place, helpers, dtype):
  path = place('d')
  helpers.write(path, dtype=dtype, covariance=True)
  files = {name: len(data) for name, data in helpers.contents(path).items()}
  kinds = {name.rpartition('.')[2] for name in files}
  assert len(files) == {'float32': 18, 'int8': 26}[dtype]
  assert {'json', 'npy'} < kinds
  rng = random.Random(1)
  # In each file once, and anywhere in all bytes; each takes a while over the network.
  few = isinstance(path, str)
  names = rng.sample([*files], 4 if few else len(files))
  names += rng.choices([*files], weights=[*files.values()], k=4 if few else 50)
  for name in names:
    offset, bit = rng.randrange(files[name]), rng.randrange(8)
    helpers.flip(path, name, offset, bit)
    try:
      named = ' '.join(map(str, store.Reader(path).verify()))
    except store.StoreError as error:
      named = str(error)
    assert name in named
    helpers.flip(path, name, offset, bit)
  assert store.Reader(path).verify() == []


def test_a_damaged_record_of_progress_is_named(tmp_path, helpers):
  x, where = helpers.activations(100), helpers.provenance(100)
  arguments = {'description': 'test', 'metadata': {'seed': 0}}
  writer = store.Writer(tmp_path / 'd', helpers.schema(), **arguments)
  writer.append({'resid_post.1': x[:40]}, where[:40])
  writer.close()
  helpers.flip(tmp_path / 'd', 'progress/00000000.npz', 100)
  with pytest.raises(store.DamagedError, match=r'progress/00000000\.npz.*Delete it'):
    helpers.write(tmp_path / 'd')
  (tmp_path / 'd' / 'progress' / '00000000.npz').unlink()
  assert helpers.write(tmp_path / 'd').verify() == []
  helpers.write(tmp_path / 'whole')
  assert helpers.contents(tmp_path / 'd') == helpers.contents(tmp_path / 'whole')


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


@pytest.mark.parametrize(
  ('version', 'advice'),
  [
    (1, 'It is older'),
    (store.FORMAT_VERSION + 1, 'It is newer'),
    (None, 'It is older'),
  ],
)
def test_another_format_version_says_so(dataset, version, advice):
  file = dataset.path / 'manifest.json'
  content = json.loads(file.read_text())
  file.write_text(json.dumps(content | {'format_version': version}))
  with pytest.raises(
    store.FormatVersionError,
    match=f'format version {version}, .* reads {store.FORMAT_VERSION}.* {advice}',
  ):
    store.Reader(dataset.path)


def test_a_missing_array_is_named(dataset):
  (dataset.path / 'provenance' / 'zarr.json').unlink()
  with pytest.raises(store.DamagedError, match=r'provenance/zarr\.json'):
    store.Reader(dataset.path)
