import itertools
import pathlib
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from interp_jax import store
from interp_jax.store.folder import Folder
from interp_jax.store.share import Share

CHILD = """
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location('helpers', sys.argv[1])
helpers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(helpers)
from interp_jax import store
append = store.Writer.append
def slowly(*args):
  time.sleep(float(sys.argv[5]))
  append(*args)
store.Writer.append = slowly
print('ready', flush=True)
sys.stdin.readline()
helpers.write(
  sys.argv[2], rows=2001, step=11, total_rows=2001, covariance=True,
  process_index=int(sys.argv[3]), process_count=int(sys.argv[4]))
"""


def child(path, helpers, index: int, count: int, pause_s: float = 0):
  arguments = [helpers.file, path, index, count, pause_s]
  process = subprocess.Popen(
    [sys.executable, '-c', CHILD, *map(str, arguments)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    cwd=pathlib.Path(__file__).parents[2],
  )
  assert process.stdout.readline() == 'ready\n', process.stderr.read()
  return process


def start(*processes: subprocess.Popen) -> None:
  for process in processes:
    process.stdin.write('\n')
    process.stdin.flush()


def write_all(path, helpers, count: int, rows: int = 100, **settings) -> None:
  """Writes a dataset by several writers at once, in threads."""
  failures = []

  def run(index):
    try:
      helpers.write(
        path,
        rows,
        total_rows=rows,
        process_index=index,
        process_count=count,
        **settings,
      )
    except store.StoreError as error:
      failures.append(error)

  threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert not failures


def test_the_shards_of_all_processes_are_all_shards_and_nobodys_twice(helpers):
  for shards, count in itertools.product([1, 2, 7, 64], [1, 2, 3, 8]):
    owned = [
      Share.of_process(helpers.schema(), 16 * shards, i, count).shards
      for i in range(count)
    ]
    assert [*itertools.chain(*owned)] == [*range(shards)]
    assert max(map(len, owned)) - min(map(len, owned)) <= 1


@pytest.mark.parametrize('rows', [1, 16, 99, 112])
@pytest.mark.parametrize('count', [2, 3, 8])
def test_several_writers_make_the_bytes_of_one(tmp_path, helpers, rows, count):
  helpers.write(tmp_path / 'one', rows, covariance=True)
  write_all(tmp_path / 'several', helpers, count, rows, covariance=True)
  one, several = (helpers.contents(tmp_path / name) for name in ('one', 'several'))
  assert several == one


@pytest.mark.parametrize(
  'place', ['folder', pytest.param('s3', marks=pytest.mark.slow)], indirect=True
)
def test_two_processes_killed_and_started_again_make_the_bytes_of_one(place, helpers):
  helpers.write(place('one'), rows=2001, step=11, covariance=True)
  first, second = (child(place('two'), helpers, i, 2, 0.01) for i in range(2))
  start(first, second)
  while not Folder(place('two')).names('progress/0000008'):
    assert second.poll() is None, second.stderr.read()
  for process in (first, second):
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
  again = [child(place('two'), helpers, i, 2) for i in range(2)]
  start(*again)
  assert [process.communicate()[1] for process in again] == ['', '']
  assert helpers.contents(place('two')) == helpers.contents(place('one'))


def test_a_dataset_can_be_continued_by_another_number_of_processes(tmp_path, helpers):
  helpers.write(tmp_path / 'one')
  x, where = helpers.activations(100), helpers.provenance(100)
  settings = {'description': 'test', 'metadata': {'seed': 0}, 'total_rows': 100}
  second = store.Writer(
    tmp_path / 'd', helpers.schema(), **settings, process_index=1, process_count=2
  )
  assert (second.rows, second.stop) == (48, 100)
  second.append({'resid_post.1': x[48:90]}, where[48:90])
  second.close()
  write_all(tmp_path / 'd', helpers, 3)
  assert helpers.contents(tmp_path / 'd') == helpers.contents(tmp_path / 'one')


def test_without_the_others_the_first_process_gives_up_and_says_what_is_missing(
  tmp_path, helpers
):
  settings = {'total_rows': 100, 'process_count': 2}
  x, where = helpers.activations(100), helpers.provenance(100)
  first = store.Writer(tmp_path / 'd', helpers.schema(), **settings)
  assert (first.rows, first.stop) == (0, 48)
  with pytest.raises(ValueError, match='writes rows up to 47'):
    first.append({'resid_post.1': x[:50]}, where[:50])
  first.append({'resid_post.1': x[:48]}, where[:48])
  with pytest.raises(store.StoreError, match='still no shards 3 to 6 of 7'):
    first.finish(timeout_s=0.1)
  second = store.Writer(tmp_path / 'd', helpers.schema(), process_index=1, **settings)
  with pytest.raises(store.StoreError, match='rows 48 to 99 were not appended'):
    second.finish()
  second = store.Writer(tmp_path / 'd', helpers.schema(), process_index=1, **settings)
  second.append({'resid_post.1': x[48:]}, where[48:])
  with pytest.raises(store.StoreError, match=r'still no manifest\.json'):
    second.finish(timeout_s=0.1)
  first = store.Writer(tmp_path / 'd', helpers.schema(), **settings)
  assert first.rows == first.stop == 48
  first.finish()
  np.testing.assert_array_equal(store.Reader(tmp_path / 'd').numpy(), x)


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'process_index': 2, 'process_count': 2}, r'must be in \[0, 2\)'),
    ({'process_count': 2}, 'only if total_rows is given'),
    ({'total_rows': 0}, 'must be positive'),
  ],
)
def test_numbers_that_make_no_sense_are_refused(tmp_path, helpers, settings, message):
  with pytest.raises(ValueError, match=message):
    store.Writer(tmp_path / 'd', helpers.schema(), **settings)
  assert not (tmp_path / 'd').exists()
