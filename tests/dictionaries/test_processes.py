"""A dictionary trained by two real processes is the one that a single one trains."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from interp_jax.dictionaries import load
from interp_jax.sharding import simulated_env

PROGRAM = """
import sys

import jax
import numpy as np

address, index, count, folder = sys.argv[1], *map(int, sys.argv[2:4]), sys.argv[4]
if count > 1:
  jax.distributed.initialize(address, num_processes=count, process_id=index)

from interp_jax import dictionaries, store
from interp_jax.sharding import make_mesh

config = dictionaries.DictionaryConfig(8, 16, dictionaries.BatchTopK(3))
trainer = dictionaries.TrainerConfig(
  steps=12, batch_size=32, learning_rate=1e-2, log_every=4, checkpoint_every=6,
  terms=(dictionaries.Matryoshka((4, 8)), dictionaries.AuxK(dead_after=64)),
)
rows = np.load(folder + '/rows.npy')


class Share:
  # The rows of this process of each batch, so that the global batches are the same.
  def __init__(self):
    self._whole = dictionaries.ArrayBatches(rows, 32, seed=1)
    self.get_state, self.set_state = self._whole.get_state, self._whole.set_state

  def __next__(self):
    return np.split(next(self._whole), count)[index]


result = dictionaries.train(
  config, trainer, Share(), rows, f'{folder}/run{count}',
  held_out=rows, mesh=make_mesh(model=2), progress=False,
)
if index == 0:
  dictionaries.save(f'{folder}/{count}', result.dictionary)
print(count, result.metrics['fvu'])
if count > 1:
  jax.distributed.shutdown()
"""


def train(folder, count):
  with socket.socket() as s:
    s.bind(('127.0.0.1', 0))
    address = f'127.0.0.1:{s.getsockname()[1]}'
  processes = [
    subprocess.Popen(
      [sys.executable, '-c', PROGRAM, address, str(index), str(count), str(folder)],
      env=os.environ | simulated_env(4 // count),
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for index in range(count)
  ]
  try:
    found = [process.communicate(timeout=300) for process in processes]
  finally:
    for process in processes:
      process.kill()
      process.wait()
  for out, err in found:
    assert out, err
  return [float(out.splitlines()[-1].split()[1]) for out, _ in found]


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
  rows = np.random.default_rng(0).normal(size=(256, 8)).astype(np.float32)
  np.save(tmp_path / 'rows.npy', np.maximum(rows, 0))
  scores = train(tmp_path, 1) + train(tmp_path, 2)
  np.testing.assert_allclose(scores, scores[0], rtol=1e-4)
  one, two = load(tmp_path / '1'), load(tmp_path / '2')
  for name, value in one.params.items():
    np.testing.assert_allclose(value, two.params[name], rtol=1e-3, atol=1e-5)
