"""Several simulated devices on one CPU, to try a mesh without having one.

The trap: a collective needs a thread for every device at once, and the CPU client has
as many threads as the machine has cores. With jax 0.10.2, eight devices on two cores
therefore wait for each other for ever: a training loop stops in an all-reduce, with a
message after 20 seconds that the rendezvous "may be stuck". `PJRT_NPROC` sets the
number of threads; twice the number of devices is enough.

All of this is read when jax starts its backend, so it must be set before the first
array.
"""

import os

import jax

THREADS_PER_DEVICE = 2


def simulated_env(devices: int) -> dict[str, str]:
  """Environment variables for a process with simulated CPU devices.

  Args:
    devices: How many.

  Returns:
    The variables to add to the environment of a process that has not started jax.

  Raises:
    ValueError: if `devices` is less than 1.
  """
  if devices < 1:
    raise ValueError(f'There can be no {devices} devices; the least is 1.')
  return {
    'JAX_PLATFORMS': 'cpu',
    'JAX_NUM_CPU_DEVICES': str(devices),
    'PJRT_NPROC': str(THREADS_PER_DEVICE * devices),
  }


def simulate_devices(devices: int) -> None:
  """Gives this process simulated CPU devices.

  Args:
    devices: How many `jax.devices()` is to list.

  Raises:
    ValueError: if `devices` is less than 1.
    RuntimeError: if jax's backend has already started.
  """
  env = simulated_env(devices)
  jax.config.update('jax_num_cpu_devices', devices)  # Raises if it is too late.
  jax.config.update('jax_platforms', env['JAX_PLATFORMS'])
  os.environ.update(env)
