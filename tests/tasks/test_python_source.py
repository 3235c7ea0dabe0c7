"""The corpus: splits that never change, packing that loses and invents nothing."""

import numpy as np
import pytest

from interp_jax.tasks import python_source


class Bytes:
  """A tokenizer: one token a byte, after token 0."""

  bos_id = 0

  def encode(self, text):
    return [byte + 1 for byte in text.encode()]


@pytest.fixture
def root(tmp_path):
  for name, content in {
    'a.py': b'x = 1\n',
    'sub/b.py': 'é = 2\r\n'.encode(),
    'sub/c.py': b'long = 3\n' * 9,
    'sub/latin.py': 'é'.encode('latin-1'),
    'sub/big.py': b'#' * 2000,
    'sub/empty.py': b'',
    'sub/notes.txt': b'no',
    'site-packages/d.py': b'no',
    '__pycache__/e.py': b'no',
  }.items():
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
  return tmp_path


def read(root, split='train'):
  return python_source.read_files(split, root, held_out=0.0, max_bytes=1000)


def test_python_files_are_found_in_order_and_packages_left_out(root):
  expected = ['a.py', 'sub/b.py', 'sub/big.py', 'sub/c.py', 'sub/empty.py']
  assert list(python_source.list_files(root)) == [*expected, 'sub/latin.py']


def test_files_that_are_no_text_or_too_large_are_left_out_and_line_ends_kept(root):
  files = read(root)
  assert [file.path for file in files] == ['a.py', 'sub/b.py', 'sub/c.py']
  assert files[1].text == 'é = 2\r\n'


def test_the_splits_of_the_standard_library_are_disjoint_and_near_nominal():
  paths = python_source.list_files()
  assert len(paths) > 500
  assert any(path.startswith('test/') or '/test' in path for path in paths)
  splits = [python_source.split_of(path) for path in paths]
  assert splits == [python_source.split_of(path) for path in paths]
  fraction = splits.count('held_out') / len(splits)
  assert 0.015 < fraction < 0.05
  assert set(splits) == set(python_source.SPLITS)


def test_a_files_split_never_changes():
  held_out = [f'pkg/{i}.py' for i in range(100)]
  held_out = [p for p in held_out if python_source.split_of(p) == 'held_out']
  assert held_out == ['pkg/62.py']
  assert python_source.split_of('a.py', 1.0) == 'held_out'
  assert python_source.split_of('a.py', 0.0) == 'train'


def test_a_larger_held_out_fraction_only_adds_files():
  paths = [f'{i}.py' for i in range(1000)]
  small, large = (
    {p for p in paths if python_source.split_of(p, f) == 'held_out'} for f in (0.1, 0.2)
  )
  assert small < large


@pytest.mark.parametrize('context', [3, 8, 50])
def test_packing_keeps_the_stream_of_tokens_up_to_the_last_full_row(root, context):
  files = read(root)
  packed = python_source.tokenize_files(files, Bytes(), context)
  stream = [token for file in files for token in [0, *Bytes().encode(file.text)]]
  assert packed.tokens.shape == (len(stream) // context, context)
  assert packed.tokens.ravel().tolist() == stream[: packed.tokens.size]


def test_every_token_can_be_traced_to_its_document(root):
  files = {file.path: file.text for file in read(root)}
  packed = python_source.tokenize_files(read(root), Bytes(), 7)
  rows = np.arange(len(packed.tokens))
  documents, positions = packed.documents(rows), packed.positions(rows)
  for row in rows:
    for column in range(7):
      place = packed.locate(int(row), column)
      expected = [0, *Bytes().encode(files[place.path])]
      assert packed.tokens[row, column] == expected[place.position]
      assert (documents[row, column], positions[row, column]) == (
        place.document,
        place.position,
      )
      assert packed.paths[place.document] == place.path


def test_the_cache_gives_back_the_same_and_is_not_read_for_other_files(root, tmp_path):
  files, cache = read(root), tmp_path / 'cache'
  first = python_source.load_or_tokenize(cache, files, Bytes(), 5)
  again = python_source.load_or_tokenize(cache, files, Bytes(), 5)
  np.testing.assert_array_equal(first.tokens, again.tokens)
  np.testing.assert_array_equal(first.starts, again.starts)
  assert first.paths == again.paths
  assert len(list(cache.iterdir())) == 1
  python_source.load_or_tokenize(cache, files[:2], Bytes(), 5)
  python_source.load_or_tokenize(cache, files, Bytes(), 6)
  assert len(list(cache.iterdir())) == 3


def test_what_is_missing_is_named(tmp_path, monkeypatch):
  with pytest.raises(FileNotFoundError, match='no Python file'):
    python_source.read_files('train', tmp_path)
  monkeypatch.setattr('sysconfig.get_path', lambda name: str(tmp_path / 'lib.zip'))
  with pytest.raises(FileNotFoundError, match='Give `root`'):
    python_source.read_files('train')


def test_a_wrong_split_lists_the_right_ones(root):
  with pytest.raises(ValueError, match='train, held_out'):
    python_source.read_files('test', root)


def test_too_few_tokens_for_a_row_are_refused(root):
  with pytest.raises(ValueError, match='do not fill one row of 1000'):
    python_source.tokenize_files(read(root), Bytes(), 1000)


def test_a_place_outside_is_refused(root):
  packed = python_source.tokenize_files(read(root), Bytes(), 7)
  with pytest.raises(IndexError, match='outside'):
    packed.locate(0, 7)


def test_a_sample_of_files_is_large_enough_in_order_and_decided_by_the_seed():
  files = [python_source.SourceFile(f'{i:02}.py', 'x' * i) for i in range(1, 40)]

  def sample(characters, seed):
    rng = np.random.default_rng(seed)
    return python_source.sample_files(files, characters, rng)

  some = sample(200, seed=0)
  assert 200 <= sum(len(file.text) for file in some) < 200 + 40
  assert list(some) == sorted(some)
  assert some == sample(200, seed=0)
  assert some != sample(200, seed=1)
  assert list(sample(10**6, seed=0)) == files
