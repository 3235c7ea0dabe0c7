"""Two real processes, which talk to each other over a socket."""

from tests.processes import run

PROGRAM = """
import sys

import jax
import numpy as np

from interp_jax.sharding import TRANSFORMER_RULES, make_mesh, place, shard_batch

address, index = sys.argv[1], int(sys.argv[2])
jax.distributed.initialize(address, num_processes=2, process_id=index)
mesh = make_mesh(model=2)
rows = np.arange(4).reshape(2, 2) + 4 * index
batch = shard_batch(mesh, rows)
params = place(mesh, TRANSFORMER_RULES, {'embed': {'W_E': np.eye(8, 3)}})
total = jax.jit(lambda w, x: w[x].sum((0, 1)))(params['embed']['W_E'], batch)
print(dict(mesh.shape), batch.shape, np.asarray(total).tolist())
jax.distributed.shutdown()
"""


def test_two_processes_share_one_mesh_one_batch_and_one_model():
  for said in run(lambda index, address: ['-c', PROGRAM, address, index], 2, devices=2):
    assert said.last == "{'data': 2, 'model': 2} (4, 2) [1.0, 1.0, 1.0]"
