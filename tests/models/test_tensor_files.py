"""Files of tensors are those of the safetensors library, read one at a time."""

import json

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from interp_jax.models import tensor_files
from interp_jax.models.tensor_files import INDEX, SINGLE, stored_tensors, write_tensors

RNG = np.random.default_rng(0)
TENSORS = {
  'a': RNG.normal(size=(3, 5)).astype('float32'),
  'b.c': RNG.normal(size=(7,)).astype('float16'),
  'counts': RNG.integers(0, 9, (2, 2, 2)),
  'empty': np.zeros((0, 4), 'float32'),
  'wide': RNG.normal(size=(4, 1)),
}


def write(folder, tensors):
  shapes = {name: (value.shape, value.dtype) for name, value in tensors.items()}
  write_tensors(folder, shapes, tensors.__getitem__)


def read(folder):
  return {name: stored.read() for name, stored in stored_tensors(folder).items()}


def same(got, want):
  assert got.keys() == want.keys()
  for name in want:
    assert got[name].dtype == want[name].dtype, name
    np.testing.assert_array_equal(got[name], want[name], err_msg=name)


def test_the_safetensors_library_reads_what_we_write(tmp_path):
  write(tmp_path, TENSORS)
  same(safetensors.numpy.load_file(tmp_path / SINGLE), TENSORS)


def test_we_read_what_the_safetensors_library_writes(tmp_path):
  safetensors.numpy.save_file(TENSORS, tmp_path / SINGLE, {'some': 'metadata'})
  same(read(tmp_path), TENSORS)


def test_sixteen_bit_brains_survive(tmp_path):
  tensors = {'x': RNG.normal(size=(3, 3)).astype(ml_dtypes.bfloat16)}
  write(tmp_path, tensors)
  same(read(tmp_path), tensors)


def test_large_models_are_cut_into_files_that_an_index_lists(tmp_path, monkeypatch):
  write(tmp_path, {'old': np.ones(3, 'float32')})
  monkeypatch.setattr(tensor_files, '_SHARD_BYTES', 70)
  write(tmp_path, TENSORS)
  index = json.loads((tmp_path / INDEX).read_text())
  assert set(index['weight_map']) == set(TENSORS)
  assert len(set(index['weight_map'].values())) == 4
  assert index['metadata']['total_size'] == sum(t.nbytes for t in TENSORS.values())
  same(read(tmp_path), TENSORS)
  monkeypatch.undo()
  write(tmp_path, TENSORS)  # And back: no file of the earlier cut is left.
  assert {file.name for file in tmp_path.iterdir()} == {SINGLE}


def test_a_file_that_is_cut_off_is_named(tmp_path):
  write(tmp_path, TENSORS)
  file = tmp_path / SINGLE
  whole = file.read_bytes()
  for length in (4, 60, len(whole) - 1):
    file.write_bytes(whole[:length])
    with pytest.raises(ValueError, match=r'model\.safetensors'):
      read(tmp_path)


def test_a_file_that_the_index_lists_and_that_is_missing_is_named(tmp_path):
  (tmp_path / INDEX).write_text(json.dumps({'weight_map': {'a': 'gone.safetensors'}}))
  with pytest.raises(ValueError, match=r'gone\.safetensors is missing'):
    read(tmp_path)


def test_a_dtype_that_cannot_be_read_is_named(tmp_path):
  header = {'x': {'dtype': 'F8_E4M3', 'shape': [4], 'data_offsets': [0, 4]}}
  text = json.dumps(header).encode()
  (tmp_path / SINGLE).write_bytes(len(text).to_bytes(8, 'little') + text + b'1234')
  with pytest.raises(ValueError, match=r'x is of dtype F8_E4M3; readable are F64'):
    read(tmp_path)
