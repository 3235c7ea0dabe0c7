"""Which implementation `'auto'` stands for: what was measured to win."""

import jax

from interp_jax.core import unknown

IMPLS = ('auto', 'sparse', 'dense')

# Backend -> what wins there, and why.
#
# cpu: measured on two cores, d 512 -> F 8192, batch 2048, k 32, float32: see the
#   docstrings of `largest`, `rows` and `topk` for each operation.
# gpu, tpu: not measured. Dense, because a matrix unit does five products while a
#   scatter-add of [B k] rows waits for memory, and on a TPU runs one row at a time.
WINS = {'cpu': 'sparse', 'gpu': 'dense', 'tpu': 'dense'}


def resolve(impl: str, platform: str | None = None) -> str:
  """Which implementation a name stands for.

  Args:
    impl: `'auto'`, `'sparse'` or `'dense'`.
    platform: What the devices are, `'cpu'`, `'gpu'` or `'tpu'`; None for jax's default
      backend. A program may be compiled for devices that this machine does not have.

  Returns:
    `'sparse'` or `'dense'`; auto is the platform's entry in `WINS`.

  Raises:
    ValueError: if there is no such implementation.
  """
  if impl not in IMPLS:
    raise ValueError(unknown('implementation', impl, IMPLS))
  if impl != 'auto':
    return impl
  return WINS.get(platform or jax.default_backend(), 'dense')
