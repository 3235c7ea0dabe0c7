"""Two real processes, which talk to each other over a socket."""

from tests.processes import run

PROGRAM = """
import sys

import jax
import numpy as np

from interp_jax.sharding import (
  TRANSFORMER_RULES, data_share, local_rows, make_mesh, place, shard_batch, to_host,
)

address, index = sys.argv[1], int(sys.argv[2])
jax.distributed.initialize(address, num_processes=2, process_id=index)
mesh = make_mesh(model=2)
assert data_share(mesh) == (index, 2)
rows = np.arange(4).reshape(2, 2) + 4 * index
batch = shard_batch(mesh, rows)
params = place(mesh, TRANSFORMER_RULES, {'embed': {'W_E': np.eye(8, 3)}})
total = jax.jit(lambda w, x: w[x].sum((0, 1)))(params['embed']['W_E'], batch)

# The way back: this process's rows, and all.
np.testing.assert_array_equal(local_rows(batch), rows)
np.testing.assert_array_equal(to_host(batch), np.arange(8).reshape(4, 2))
same = shard_batch(mesh, np.arange(8).reshape(4, 2), whole=True)
np.testing.assert_array_equal(local_rows(same), rows)

# One copy of the model on the devices of both, which then need the same rows.
wide = make_mesh(model=4, slices=1)
assert data_share(wide) == (0, 1)
np.testing.assert_array_equal(local_rows(shard_batch(wide, rows * 0)), rows * 0)
W_E = place(wide, TRANSFORMER_RULES, {'embed': {'W_E': np.arange(24.).reshape(8, 3)}})
for block_bytes in (1, 64, 10**6):  # Two blocks of 64 bytes overlap.
  whole = to_host(W_E, block_bytes)['embed']['W_E']
  np.testing.assert_array_equal(whole, np.arange(24.).reshape(8, 3))
columns = jax.device_put(
  np.arange(8.).reshape(2, 4), jax.NamedSharding(wide, jax.P('data', 'model'))
)
np.testing.assert_array_equal(to_host(columns), np.arange(8.).reshape(2, 4))
try:
  local_rows(columns)
except ValueError as error:
  assert 'only parts of its rows' in str(error)
else:
  raise AssertionError('half of each row was taken for the rows')

print(dict(mesh.shape), batch.shape, np.asarray(total).tolist())
jax.distributed.shutdown()
"""


def test_two_processes_share_one_mesh_one_batch_and_one_model():
  for said in run(lambda index, address: ['-c', PROGRAM, address, index], 2, devices=2):
    assert said.last == "{'data': 2, 'model': 2} (4, 2) [1.0, 1.0, 1.0]"
