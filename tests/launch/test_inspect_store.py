import subprocess
import sys

from absl import app
import numpy as np
import pytest

from interp_jax import models, store
from tests.launch.scripts import ROOT, load_script

SCRIPT = ROOT / 'launch' / 'inspect_store.py'
TEXT = 'def squares(numbers):\n  return [number ** 2 for number in numbers]\n'


@pytest.fixture(scope='module')
def inspect():
  return load_script('inspect_store')


@pytest.fixture(scope='module')
def tokenizer():
  return models.load('stdlib-4l')[2]


@pytest.fixture
def reader(tmp_path, tokenizer):
  tokens = [tokenizer.bos_id, *tokenizer.encode(TEXT)]
  where = np.asarray([[d, p, t] for d in (3, 4) for p, t in enumerate(tokens)])
  specs = [
    store.ArraySpec('resid_post', 1, (5,), 'int8'),
    store.ArraySpec('z', 0, (2, 3), 'bfloat16'),
  ]
  rng = np.random.default_rng(0)
  rows = {s.name: rng.standard_normal((len(where), *s.shape)) for s in specs}
  with store.Writer(
    tmp_path / 'd',
    store.make_schema(specs, 8, 16),
    description='squares, twice',
    metadata={'model': 'stdlib-4l', 'long': ['x'] * 1000},
  ) as writer:
    writer.append({n: x.astype(np.float32) for n, x in rows.items()}, where)
  return store.Reader(tmp_path / 'd')


def run(*arguments: object) -> subprocess.CompletedProcess:
  return subprocess.run(
    [sys.executable, str(SCRIPT), *map(str, arguments)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )


def test_the_command_says_what_is_there_and_that_it_is_sound(reader):
  done = run(reader.path, '--rows=2')
  assert done.returncode == 0, done.stderr
  assert f'{len(reader)} rows' in done.stdout
  assert 'squares, twice' in done.stdout
  assert 'sound: ' in done.stdout
  assert done.stdout.count('document ') == 2


def test_the_command_names_what_is_damaged(reader):
  file = reader.path / 'resid_post.1.scale' / 'c' / '1'
  data = bytearray(file.read_bytes())
  data[3] ^= 1
  file.write_bytes(data)
  done = run(reader.path, '--rows=0')
  assert done.returncode == 1
  assert "array 'resid_post.1.scale' in file 'resid_post.1.scale/c/1'" in done.stdout
  assert 'DAMAGED: 1 of ' in done.stdout


def test_what_is_no_dataset_is_said_without_a_traceback(inspect, tmp_path, capsys):
  assert inspect.main(['', str(tmp_path)]) == 1
  assert 'NotAStoreError' in capsys.readouterr().out
  with pytest.raises(app.UsageError):
    inspect.main([''])


def test_rows_lead_back_to_their_text(inspect, reader, tokenizer):
  found = inspect.find_tokenizer(None, reader.manifest.metadata)
  lines = list(inspect.samples(reader, found, len(reader), context=1000))
  assert len(lines) == 4 * len(reader)
  row = len(reader) - 1
  shown = lines[4 * row + 1]
  whole = ''.join(tokenizer.token_strings([tokenizer.bos_id, *tokenizer.encode(TEXT)]))
  left, _, last = shown.strip().partition(' -> ')
  # The text of the same document only, up to the row's token.
  assert whole.startswith(left[1:-1].encode().decode('unicode_escape'))
  assert left[1:-1].count('squares') == 1
  assert last in {repr(t) for t in tokenizer.token_strings(tokenizer.encode(TEXT))}
  norm = np.linalg.norm(reader.rows([row], 'z.0').astype(float))
  assert f'z.0: norm {norm:.4g}' in lines[4 * row + 3]


def test_the_table_has_a_line_for_each_array(inspect, reader):
  lines = list(inspect.statistics(reader))
  assert len(lines) == 4
  assert lines[1].split()[:3] == ['resid_post.1', '5', 'int8']
  assert lines[2].split()[:3] == ['z.0', '2x3', 'bfloat16']
  assert f'{reader.statistics("z.0").mean_norm:.4g}' in lines[2]
  # 8 bits are worth some tenths of a percent.
  assert 0 < float(lines[1].split()[-1].rstrip('%')) < 2


def test_long_metadata_is_cut(inspect, reader):
  text = '\n'.join(inspect.describe(reader))
  assert 'model: "stdlib-4l"' in text
  assert max(map(len, text.splitlines())) < 200


def test_a_tokenizer_is_found_by_name_file_or_folder(
  inspect, tokenizer, tmp_path, capsys
):
  tokenizer.save(tmp_path / 'tokenizer.json')
  for name in ('stdlib-4l', str(tmp_path), str(tmp_path / 'tokenizer.json')):
    assert inspect.find_tokenizer(name, {}).encode(TEXT) == tokenizer.encode(TEXT)
  assert inspect.find_tokenizer(None, {'tokenizer': str(tmp_path)}) is not None
  assert inspect.find_tokenizer(None, {'tokenizer': 'elsewhere', 'model': 7}) is None
  assert '--tokenizer' in capsys.readouterr().out
  with pytest.raises(FileNotFoundError):
    inspect.find_tokenizer('elsewhere', {})
