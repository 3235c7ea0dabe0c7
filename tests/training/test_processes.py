"""A run over two real processes: same result, and all stop when one is told to."""

import numpy as np
import pytest

from tests.processes import run

PROGRAM = """
import os
import signal
import sys

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
import optax

from interp_jax import training
from interp_jax.sharding import make_mesh

address, index, count, workdir = sys.argv[1], *map(int, sys.argv[2:4]), sys.argv[4]
if count > 1:
  jax.distributed.initialize(address, num_processes=count, process_id=index)
mesh = make_mesh()
rows = np.random.default_rng(0).integers(0, 20, (40, 6))
logits_fn = lambda params, tokens: params['E'][tokens] @ params['U']
optimizer = optax.adam(1e-2)
E = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)


def run(evaluate):
  state = training.create_state({'E': E, 'U': E.T}, optimizer)
  return training.fit(
    jax.device_put(state, NamedSharding(mesh, PartitionSpec())),
    training.make_train_step(training.make_loss(logits_fn), optimizer, mesh),
    training.batches(rows, 8, seed=0),
    training.LoopConfig(12, log_every=4, eval_every=1, checkpoint_every=0),
    workdir,
    evaluate=evaluate,
    place=lambda batch: training.place_batch(batch, mesh),
    progress=False,
  )


def signal_the_last(state):
  if int(state.step) == 5 and index == count - 1:
    os.kill(os.getpid(), signal.SIGTERM)
  return {}


first = run(signal_the_last)
second = run(lambda state: {})
held_out = training.make_evaluation(logits_fn, rows, 8, mesh)(second.state.params)
print(count, first.finished, second.finished, first.step, held_out['held_out_loss'])
if count > 1:
  jax.distributed.shutdown()
"""


def outputs(workdir, count):
  arguments = lambda index, address: ['-c', PROGRAM, address, index, count, workdir]
  return [said.last.split() for said in run(arguments, count, devices=2)]


@pytest.mark.slow
def test_two_processes_stop_together_resume_and_agree_with_one(tmp_path):
  one = outputs(tmp_path / 'one', 1)
  two = outputs(tmp_path / 'two', 2)
  assert one[0][:4] == ['1', 'False', 'True', '6']
  # With two processes the signal is heard where they meet: at the next log.
  assert [line[:4] for line in two] == [['2', 'False', 'True', '8']] * 2
  losses = [float(line[4]) for line in one + two]
  np.testing.assert_allclose(losses, losses[0], rtol=1e-5)
