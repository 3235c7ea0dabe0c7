"""A dictionary trained by two real processes is the one that a single one trains."""

import numpy as np
import pytest

from interp_jax.dictionaries import load
from tests.processes import run

PROGRAM = """
import sys

import jax
import numpy as np

address, index, count, folder = sys.argv[1], *map(int, sys.argv[2:4]), sys.argv[4]
if count > 1:
  jax.distributed.initialize(address, num_processes=count, process_id=index)

from interp_jax import dictionaries, training
from interp_jax.sharding import make_mesh

config = dictionaries.DictionaryConfig(8, 16, dictionaries.BatchTopK(3))
trainer = dictionaries.TrainerConfig(
  steps=12, batch_size=32, learning_rate=1e-2, log_every=4, checkpoint_every=6,
  terms=(dictionaries.Matryoshka((4, 8)), dictionaries.AuxK(dead_after=64)),
)
rows = np.load(folder + '/rows.npy')

# The rows of this process of each batch, so that the global batches are the same.
batches = training.OwnRows(dictionaries.ArrayBatches(rows, 32, seed=1), index, count)
result = dictionaries.train(
  config, trainer, batches, rows, f'{folder}/run{count}',
  held_out=rows, mesh=make_mesh(model=2), progress=False,
)
if index == 0:
  dictionaries.save(f'{folder}/{count}', result.dictionary)
batches = training.OwnRows(dictionaries.ArrayBatches(rows, 32, seed=1), index, count)
swept = dictionaries.train_sweep(
  dictionaries.DictionaryConfig(8, 16, dictionaries.TopK(3)),
  dictionaries.TrainerConfig(steps=6, batch_size=32, log_every=2, eval_every=3),
  dictionaries.grid({'seed': (0, 1)}), batches, rows, f'{folder}/sweep{count}',
  held_out=rows, mesh=make_mesh(model=2), progress=False,
)
print(count, result.metrics['fvu'], *(score['fvu'] for score in swept.metrics))
if count > 1:
  jax.distributed.shutdown()
"""


def train(folder, count):
  arguments = lambda index, address: ['-c', PROGRAM, address, index, count, folder]
  lines = [said.last.split() for said in run(arguments, count, devices=4 // count)]
  return [[float(number) for number in line[1:]] for line in lines]


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
  rows = np.random.default_rng(0).normal(size=(256, 8)).astype(np.float32)
  np.save(tmp_path / 'rows.npy', np.maximum(rows, 0))
  scores = train(tmp_path, 1) + train(tmp_path, 2)
  np.testing.assert_allclose(scores, [scores[0]] * 3, rtol=1e-4)
  one, two = load(tmp_path / '1'), load(tmp_path / '2')
  for name, value in one.params.items():
    np.testing.assert_allclose(value, two.params[name], rtol=1e-3, atol=1e-5)
