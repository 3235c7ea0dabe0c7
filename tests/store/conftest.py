import importlib.util
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest

from interp_jax import store
from interp_jax.store.folder import Folder

WIDTH = 6


def activations(rows: int, dtype: str = 'float32') -> np.ndarray:
  """Rows that differ from each other; the first entry is the index of the row."""
  x = np.random.default_rng(0).standard_normal((rows, WIDTH))
  x[:, 0] = np.arange(rows)
  return x.astype(store.ArraySpec('resid_post', 1, (WIDTH,), dtype).np_dtype)


def provenance(rows: int) -> np.ndarray:
  index = np.arange(rows, dtype=np.int32)
  return np.stack([index // 10, index % 10, index * 7 % 100], axis=1)


def schema(dtype: str = 'float32', chunk_rows: int = 4, shard_rows: int = 16):
  spec = store.ArraySpec('resid_post', 1, (WIDTH,), dtype)
  return store.make_schema([spec], chunk_rows, shard_rows)


def write(
  path,
  rows: int = 100,
  dtype: str = 'float32',
  chunk_rows: int = 4,
  shard_rows: int = 16,
  step: int = 7,
  **settings,
) -> store.Reader:
  """Writes `activations(rows)`, appending `step` rows at a time."""
  x, where = activations(rows, dtype), provenance(rows)
  what = {'description': 'test', 'metadata': {'seed': 0}}
  pieces = schema(dtype, chunk_rows, shard_rows)
  with store.Writer(path, pieces, **what, **settings) as writer:
    stop = rows if writer.stop is None else writer.stop
    while writer.rows < stop:
      part = slice(writer.rows, min(writer.rows + step, stop))
      writer.append({'resid_post.1': x[part]}, where[part])
  return store.Reader(path)


def contents(path) -> dict[str, bytes]:
  """Every file of a folder, hidden ones too, or every object under a URL."""
  if isinstance(path, str):
    folder = Folder(path)
    return {name: folder.read(name) for name in folder.names()}
  files = (file for file in path.rglob('*') if file.is_file())
  return {str(file.relative_to(path)): file.read_bytes() for file in files}


def flip(path, name: str, offset: int, bit: int = 0) -> None:
  """Flips a bit of a file of a dataset."""
  folder = Folder(path)
  data = bytearray(folder.read(name))
  data[offset] ^= 1 << bit
  folder.write(name, bytes(data))


@pytest.fixture(scope='session')
def s3():
  """A bucket on an S3 server of our own, named by the environment as any other."""
  pytest.importorskip('moto')
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  server = subprocess.Popen(
    [sys.executable, '-m', 'moto.server', '-H', '127.0.0.1', '-p', str(port)],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  with pytest.MonkeyPatch.context() as patch:
    for variable in [name for name in os.environ if name.startswith('AWS_')]:
      patch.delenv(variable)
    endpoint = f'http://127.0.0.1:{port}'
    patch.setenv('AWS_ENDPOINT_URL', endpoint)
    patch.setenv('AWS_ACCESS_KEY_ID', 'nobody')
    patch.setenv('AWS_SECRET_ACCESS_KEY', 'nothing')
    patch.setenv('AWS_REGION', 'us-east-1')
    make_bucket(endpoint)
    yield 's3://datasets'
  server.kill()
  server.wait()


def make_bucket(endpoint: str) -> None:
  for _ in range(600):
    try:
      request = urllib.request.Request(f'{endpoint}/datasets', method='PUT')
      urllib.request.urlopen(request).close()
      return
    except OSError:
      time.sleep(0.05)
  raise RuntimeError('The S3 server does not start.')


@pytest.fixture(scope='session')
def gs():
  """A bucket on a server that speaks as Google Cloud Storage does."""
  file = pathlib.Path(__file__).parent / 'gcs_server.py'
  spec = importlib.util.spec_from_file_location('gcs_server', file)
  gcs_server = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(gcs_server)
  server = gcs_server.start()
  with pytest.MonkeyPatch.context() as patch:
    endpoint = f'http://127.0.0.1:{server.server_port}'
    patch.setenv('TENSORSTORE_GCS_HTTP_URL', endpoint)
    patch.setenv('GOOGLE_AUTH_TOKEN_FOR_TESTING', 'nobody')
    yield 'gs://datasets'
  server.shutdown()
  server.server_close()


@pytest.fixture(params=['folder', 's3'])
def place(request, tmp_path):
  """Where datasets can be: under a folder, or under a prefix of a bucket."""
  if request.param == 'folder':
    return lambda name: tmp_path / name
  bucket = request.getfixturevalue('s3')
  return lambda name: f'{bucket}/{tmp_path.name}/{name}'


@pytest.fixture(scope='session')
def sound(tmp_path_factory):
  """A dataset that no test changes."""
  return write(tmp_path_factory.mktemp('store') / 'dataset')


@pytest.fixture
def dataset(tmp_path, sound):
  """A dataset that a test may damage."""
  shutil.copytree(sound.path, tmp_path / 'dataset')
  return store.Reader(tmp_path / 'dataset')


@pytest.fixture
def helpers():
  """The functions of this file, for tests in other files."""

  class Helpers:
    width = WIDTH
    file = str(pathlib.Path(__file__))

  for function in (activations, provenance, schema, write, contents, flip):
    setattr(Helpers, function.__name__, staticmethod(function))
  return Helpers
