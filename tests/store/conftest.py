import pathlib
import shutil

import numpy as np
import pytest

from interp_jax import store

WIDTH = 6


def activations(rows: int, dtype: str = 'float32') -> np.ndarray:
  """Rows that differ from each other; the first entry is the index of the row."""
  x = np.random.default_rng(0).standard_normal((rows, WIDTH))
  x[:, 0] = np.arange(rows)
  return x.astype(store.ArraySpec('resid_post', 1, (WIDTH,), dtype).np_dtype)


def provenance(rows: int) -> np.ndarray:
  index = np.arange(rows, dtype=np.int32)
  return np.stack([index // 10, index % 10, index * 7 % 100], axis=1)


def write(
  path: pathlib.Path,
  rows: int = 100,
  dtype: str = 'float32',
  chunk_rows: int = 4,
  shard_rows: int = 16,
  step: int = 7,
) -> store.Reader:
  """Writes `activations(rows)`, appending `step` rows at a time."""
  spec = store.ArraySpec('resid_post', 1, (WIDTH,), dtype)
  schema = store.make_schema([spec], chunk_rows, shard_rows)
  x, where = activations(rows, dtype), provenance(rows)
  with store.Writer(path, schema, description='test', metadata={'seed': 0}) as writer:
    while writer.rows < rows:
      part = slice(writer.rows, writer.rows + step)
      writer.append({spec.name: x[part]}, where[part])
  return store.Reader(path)


def contents(path: pathlib.Path) -> dict[str, bytes]:
  """Every file of a folder, hidden ones too."""
  files = (file for file in path.rglob('*') if file.is_file())
  return {str(file.relative_to(path)): file.read_bytes() for file in files}


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

  for function in (activations, provenance, write, contents):
    setattr(Helpers, function.__name__, staticmethod(function))
  return Helpers
