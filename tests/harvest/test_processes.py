"""Real processes: two that share the work, and one that is killed again and again."""

import random
import signal
import time

import numpy as np
import pytest

from tests.processes import run, start

# Where, sequences, and the process's number among how many.
PROGRAM = """
import sys
import jax
import numpy as np
from interp_jax import sharding
from interp_jax.harvest import harvest
from interp_jax.testing import tiny_model

path, count, address, index = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
if address:
  jax.distributed.initialize(address, num_processes=2, process_id=int(index))
mesh = sharding.make_mesh(devices=jax.local_devices())
tokens = np.random.default_rng(0).integers(0, 31, (count, 10))
reader = harvest(
  *tiny_model(), tokens, path, sites={'resid_post': (1,), 'z': (0,)}, batch_size=4,
  mask=tokens % 5 > 0, mesh=mesh, shard_rows=128, progress=False,
)
print(jax.process_count(), len(jax.devices()), len(reader))
if address:
  jax.distributed.shutdown()
"""


# The same arguments; the path is where to save the batches.
STREAM = """
import sys
import jax
from jax.experimental import multihost_utils
import numpy as np
from interp_jax import sharding
from interp_jax.harvest import stream
from interp_jax.testing import tiny_model

path, count, address, index = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
if address:
  jax.distributed.initialize(address, num_processes=2, process_id=int(index))
mesh = sharding.make_mesh()
tokens = np.random.default_rng(0).integers(0, 31, (count, 10))
batches = stream(
  *tiny_model(), tokens, 16, sites={'resid_post': (1,)}, model_batch=4,
  buffer_rows=160, mesh=mesh,
)
given = [next(batches) for _ in range(8)]
assert all(sharding.shard_batch(mesh, batch) is batch for batch in given)
given = [multihost_utils.process_allgather(batch, tiled=True) for batch in given]
if index == '0':
  np.save(path, np.stack(given).astype(np.float32))
print(len(batches.sample(50)))
if address:
  jax.distributed.shutdown()
"""


def arguments(program, path, sequences, count=1):
  return lambda index, address: [
    *('-c', program, path, sequences, address if count > 1 else '', index)
  ]


def said(program, path, sequences, count, devices):
  """The last lines that the processes print."""
  found = run(arguments(program, path, sequences, count), count, devices)
  return [one.last for one in found]


def contents(path):
  files = (file for file in path.rglob('*') if file.is_file())
  return {str(file.relative_to(path)): file.read_bytes() for file in files}


def test_two_processes_write_the_dataset_of_one(tmp_path):
  (one,) = said(PROGRAM, tmp_path / 'one', 150, count=1, devices=2)
  rows = one.split()[-1]
  assert one == f'1 2 {rows}'
  two = said(PROGRAM, tmp_path / 'two', 150, count=2, devices=2)
  assert two == [f'2 4 {rows}'] * 2
  assert contents(tmp_path / 'two') == contents(tmp_path / 'one')


def test_two_processes_stream_the_batches_of_one(tmp_path):
  one = said(STREAM, tmp_path / 'one', 40, count=1, devices=4)
  assert said(STREAM, tmp_path / 'two', 40, count=2, devices=2) == one * 2
  one, two = (np.load(tmp_path / f'{name}.npy') for name in ('one', 'two'))
  assert one.shape == (8, 16, 12)
  np.testing.assert_allclose(two, one, atol=0.02)


@pytest.mark.slow
def test_killed_at_twenty_random_moments_it_resumes_to_the_same_bytes(tmp_path):
  count = 20_000
  run(arguments(PROGRAM, tmp_path / 'whole', count), 1)
  rng, killed = random.Random(0), 0
  folder = tmp_path / 'killed'
  for _ in range(20):
    before = len(list(folder.rglob('*')))
    (process,) = start(arguments(PROGRAM, folder, count), 1)
    # It takes seconds to start; its moments begin when it writes something new.
    while process.poll() is None and len(list(folder.rglob('*'))) <= before:
      time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.15))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    killed += process.returncode == -signal.SIGKILL
  assert killed == 20
  run(arguments(PROGRAM, folder, count), 1)
  assert contents(folder) == contents(tmp_path / 'whole')
