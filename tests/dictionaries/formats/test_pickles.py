import pickle
import subprocess
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest

from interp_jax.dictionaries.formats.pickle_writer import write_pickle
from interp_jax.dictionaries.formats.pickles import read_pickle
from tests.dictionaries.formats.hostile import (
  archive,
  calling,
  integer,
  program,
  tensor,
  text,
)

FLOATS = np.asarray([1.5, -2], np.float32).tobytes()


@pytest.fixture
def state():
  rng = np.random.default_rng(0)
  return {
    'weight': rng.normal(size=(3, 4)).astype(np.float32),
    'scalar': np.asarray(7, np.int64),
    'half': rng.normal(size=5).astype(ml_dtypes.bfloat16),
    'empty': np.zeros((0, 3), np.float32),
    'flags': np.asarray([True, False]),
    'words': {'k': 32, 'long': 2**40, 'rate': 0.5, 'name': 'ReLU', 'none': None},
  }


def test_what_is_written_is_read(tmp_path, state):
  write_pickle(tmp_path / 'a.pt', state)
  found = read_pickle(tmp_path / 'a.pt')
  assert found.pop('words') == state.pop('words')
  assert found.keys() == state.keys()
  for name, array in state.items():
    assert found[name].shape == array.shape
    np.testing.assert_array_equal(found[name].read(), array)
    assert found[name].read().dtype == array.dtype


def test_tensors_that_share_a_storage_are_read_as_the_views_they_are(tmp_path):
  numbers = np.arange(6, dtype=np.float32)
  one = tensor((2, 2), (1, 2), offset=1, count=6)
  file = archive(tmp_path / 'a.pt', program(one), _0=numbers.tobytes())
  expected = np.lib.stride_tricks.as_strided(numbers[1:], (2, 2), (4, 8))
  np.testing.assert_array_equal(read_pickle(file)['a'].read(), expected)


def test_it_is_read_without_torch(tmp_path, state):
  write_pickle(tmp_path / 'a.pt', state)
  code = (
    'import sys, pathlib; sys.modules["torch"] = None\n'
    'from interp_jax.dictionaries.formats.pickles import read_pickle\n'
    f'print(read_pickle(pathlib.Path({str(tmp_path / "a.pt")!r}))["weight"].shape)'
  )
  done = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True
  )
  assert done.stdout.strip() == '(3, 4)'


@pytest.mark.parametrize('name', calling('x'))
def test_nothing_is_called(tmp_path, name):
  marker = tmp_path / 'marker'
  file = archive(tmp_path / 'a.pt', calling(marker)[name])
  with pytest.raises(ValueError, match=rf"the name '{name}'.*It was not run"):
    read_pickle(file)
  assert not marker.exists()


class Thing:
  """Pickled, it is a class to make an object of."""


@pytest.mark.parametrize(
  ('instructions', 'message'),
  [
    (b'ctorch\nFloatStorage\n)R', 'a call of something that is not a function'),
    (text('x') + b')R', 'a call of something that is not a function'),
    (b'ccollections\nOrderedDict\n' + text('x') + b'\x85R', 'a dict with arguments'),
    (b'ccollections\nOrderedDict\n)\x81', 'the instruction NEWOBJ'),
    (b'ccollections\nOrderedDict\n', 'leaves a _Name, no data'),
    (b'cos\nsystem\n', "the name 'os.system'"),
    (b"(S'x'\nios\nsystem\n", 'the instruction STRING'),
    (b'\x82\x01', 'the instruction EXT1'),
    (b']' + text('x') + b'b', 'attributes of something that is not a dict'),
    (b'Px\n', 'the instruction PERSID'),
    (text('x') + b'Q', "the reference 'x'"),
    (tensor(key='../../etc/passwd'), 'the reference'),
    (tensor(key='1'), "no member 'data/1'"),
    (tensor(count=2**40), 'cut off'),
    (tensor(shape=(3,)), 'does not fit in its storage'),
    (tensor(shape=(2**60,), strides=(0,)), 'does not fit in its storage'),
    (tensor(shape=(2**40, 2**40)), 'makes no sense'),
    (tensor(offset=-4), 'makes no sense'),
    (tensor(shape=(-1,)), 'makes no sense'),
    (tensor(strides=(-1,)), 'makes no sense'),
    (tensor(storage=b'ccollections\nOrderedDict\n'), 'makes no sense'),
    (b't', 'makes no sense'),
    (b'h\x07', 'makes no sense'),
    (b'R', 'a call of something that is not a function'),
    (b'r\xff\xff\xff\x7f0', 'the instruction POP'),
  ],
)
def test_a_program_that_is_not_of_a_state_dict_is_refused(
  tmp_path, instructions, message
):
  file = archive(tmp_path / 'a.pt', program(instructions), _0=FLOATS)
  with pytest.raises(ValueError, match=message):
    read_pickle(file)


def test_an_object_of_a_class_is_refused(tmp_path):
  file = archive(tmp_path / 'a.pt', pickle.dumps({'a': Thing()}, 2))
  with pytest.raises(ValueError, match=r'the name .*Thing'):
    read_pickle(file)


def test_a_memo_of_any_number_costs_nothing(tmp_path):
  instructions = integer(3) + b'r\xff\xff\xff\xff'
  file = archive(tmp_path / 'a.pt', program(instructions))
  assert read_pickle(file) == {'a': 3}


def test_a_program_that_unfolds_without_end_is_refused(tmp_path):
  # Each line is a list of ten times the line before: a billion of billions.
  level = b'](' + b''.join(b'h\x00' for _ in range(10)) + b'eq\x00'
  doubling = b']q\x00' + level * 20
  with pytest.raises(ValueError, match='nests too deep'):
    read_pickle(archive(tmp_path / 'a.pt', program(b'(' + doubling + b't')))
  loop = b']q\x00h\x00a'
  with pytest.raises(ValueError, match='nests too deep'):
    read_pickle(archive(tmp_path / 'b.pt', program(loop)))


def test_keys_are_texts_and_numbers(tmp_path):
  # The hash of a tuple of tuples can take for ever.
  nested = b')' + b'\x85' * 40 + integer(1)
  with pytest.raises(ValueError, match='a tuple as a key'):
    read_pickle(archive(tmp_path / 'a.pt', b'\x80\x02}' + nested + b's.'))


def test_a_file_that_is_cut_off_says_so(tmp_path, state):
  write_pickle(tmp_path / 'a.pt', state)
  whole = (tmp_path / 'a.pt').read_bytes()
  for size in range(0, len(whole), 97):
    (tmp_path / 'b.pt').write_bytes(whole[:size])
    with pytest.raises(ValueError, match=r'cut off|damaged'):
      read_pickle(tmp_path / 'b.pt')


@pytest.mark.parametrize('size', range(0, 40, 3))
def test_a_program_that_is_cut_off_says_so(tmp_path, size):
  whole = program(tensor())
  file = archive(tmp_path / 'a.pt', whole[:size], _0=FLOATS)
  with pytest.raises(ValueError, match=r'cut off|makes no sense'):
    read_pickle(file)


def test_files_before_zip_archives_are_refused_with_the_way_out(tmp_path):
  (tmp_path / 'a.pt').write_bytes(pickle.dumps({'a': 1}, 2))
  with pytest.raises(ValueError, match=r'torch before 1\.6.*weights_only=True'):
    read_pickle(tmp_path / 'a.pt')


def test_archives_that_are_not_torchs_are_refused(tmp_path):
  with zipfile.ZipFile(tmp_path / 'a.pt', 'w') as opened:
    opened.writestr('else', b'')
  with pytest.raises(ValueError, match=r'not one of torch\.save'):
    read_pickle(tmp_path / 'a.pt')
  with zipfile.ZipFile(tmp_path / 'b.pt', 'w', zipfile.ZIP_DEFLATED) as opened:
    opened.writestr('archive/data.pkl', program(tensor()))
  with pytest.raises(ValueError, match='is compressed'):
    read_pickle(tmp_path / 'b.pt')
  with zipfile.ZipFile(tmp_path / 'c.pt', 'w') as opened:
    opened.writestr('archive/data.pkl', program(tensor()))
    opened.writestr('archive/byteorder', b'big')
  with pytest.raises(ValueError, match='big endian'):
    read_pickle(tmp_path / 'c.pt')


def test_a_value_with_no_place_is_not_written(tmp_path):
  with pytest.raises(ValueError, match='set has no place'):
    write_pickle(tmp_path / 'a.pt', {'a': {1}})
  with pytest.raises(ValueError, match='complex64 has no place'):
    write_pickle(tmp_path / 'a.pt', {'a': np.zeros(2, np.complex64)})
