import os
import subprocess
import sys

import jax
import pytest

from interp_jax.sharding import simulate_devices, simulated_env


def run(code, **env):
  """Runs Python code in a process of its own, without this one's devices."""
  ours = simulated_env(8)
  clean = {name: value for name, value in os.environ.items() if name not in ours}
  return subprocess.run(
    [sys.executable, '-c', code],
    env=clean | env,
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )


def test_the_tests_themselves_run_as_simulated_env_says():
  env = simulated_env(8)
  for name in ('JAX_NUM_CPU_DEVICES', 'PJRT_NPROC'):
    assert os.environ[name] == env[name]
  assert len(jax.devices('cpu')) == 8


def test_a_process_started_with_the_environment_has_the_devices():
  done = run('import jax; print(jax.device_count())', **simulated_env(3))
  assert done.stdout.strip() == '3', done.stderr


# Without enough threads, this loop stops in an all-reduce (on jax 0.10.2).
TRAINING_LOOP = """
import jax
from interp_jax.sharding import make_mesh, replicate, shard_batch, simulate_devices

simulate_devices(8)
mesh = make_mesh()

@jax.jit
def step(w, x):
  return w - 0.1 * jax.grad(lambda w: ((x @ w) ** 2).mean())(w)

w = replicate(mesh, jax.numpy.eye(64))
x = shard_batch(mesh, jax.numpy.ones((64, 64)))
for _ in range(200):
  w = step(w, x)
print(jax.device_count(), w.sum().shape)
"""


def test_a_script_can_give_itself_devices_and_train_on_them():
  done = run(TRAINING_LOOP)
  assert done.stdout.strip() == '8 ()', done.stderr


def test_it_is_an_error_once_jax_has_started():
  with pytest.raises(RuntimeError, match='before backends are initialized'):
    simulate_devices(4)
  assert os.environ['JAX_NUM_CPU_DEVICES'] == '8'


def test_there_is_at_least_one_device():
  with pytest.raises(ValueError, match='least is 1'):
    simulated_env(0)
