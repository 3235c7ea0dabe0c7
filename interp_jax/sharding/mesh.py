"""Device meshes with the axes `data` and `model`."""

from collections.abc import Sequence

import jax
from jax.sharding import AxisType, Mesh

DATA = 'data'
MODEL = 'model'


def _data_size(model: int, devices: int) -> int:
  """How many copies of the model fit; an error if some devices would be left over."""
  if devices % model:
    allowed = [size for size in range(1, devices + 1) if devices % size == 0]
    raise ValueError(
      f'{devices} devices cannot be divided into groups of model={model}: {devices} %'
      f' {model} = {devices % model}. Choose model from {allowed}, or pass fewer'
      ' devices.'
    )
  return devices // model


def make_mesh(
  data: int | None = None,
  model: int = 1,
  devices: Sequence[jax.Device] | None = None,
) -> Mesh:
  """A mesh of `data` × `model` devices.

  The axes are of type `AxisType.Auto`. jax's default since 0.9 is Explicit, under
  which a sharded embedding lookup and `lax.top_k` along a sharded axis are errors.

  Args:
    data: The number of copies of the model, each with its share of the batch; None
      for as many as the devices allow.
    model: The number of devices that share one copy of the model.
    devices: The devices; None for all devices of all processes.

  Returns:
    The mesh. `mesh.shape['data']` and `mesh.shape['model']` are its sizes.

  Raises:
    ValueError: if the devices cannot be arranged so, or if some would be left over.
  """
  for name, size in ((DATA, data), (MODEL, model)):
    if size is not None and size < 1:
      raise ValueError(
        f'The mesh axis {name!r} has size {size}; it must be at least 1.'
      )
  devices = list(jax.devices() if devices is None else devices)
  if data is None:
    data = _data_size(model, len(devices))
  if data * model != len(devices):
    raise ValueError(
      f'A mesh of data={data} × model={model} needs {data * model} devices, and there'
      f' are {len(devices)}. Leave data=None to use all of them, or pass'
      f' devices=jax.devices()[:{data * model}] to use fewer.'
    )
  axis_types = (AxisType.Auto, AxisType.Auto)
  return jax.make_mesh((data, model), (DATA, MODEL), axis_types, devices=devices)
