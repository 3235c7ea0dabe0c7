"""Device meshes with the axes `data` and `model`, from one device to many slices.

Devices come in *slices*: groups with a fast network inside (a TPU slice's interconnect,
a host's NVLink) and a slow one between them (the data centre's). `make_mesh` lays them
out so that a copy of the model never leaves its slice, and `data` counts the copies
slice by slice. What is exchanged over `model` then stays on the fast network. Only sums
over `data` (gradients, once a step) cross the slow one, and neighbours can be summed
within their slice first.

Slices have no mesh axis of their own. Everything that is split over `data` would have
to name that axis as well, in every sharding and every `psum`, to say the same thing.
Which traffic crosses slices can be read off the devices themselves: `slice_of`.
"""

from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh
import numpy as np

DATA = 'data'
MODEL = 'model'


def slice_of(device: Any) -> int:
  """The slice that a device is in.

  Args:
    device: A device, or a topology's description of one.

  Returns:
    Its `slice_index`. TPUs without one are all in the same slice; of other devices
    without one, CPUs say, it is the process.
  """
  # On some, the attribute is there without a value.
  index = getattr(device, 'slice_index', None)
  if index is not None:
    return index
  return 0 if device.platform == 'tpu' else device.process_index


def make_mesh(
  data: int | None = None,
  model: int = 1,
  devices: Sequence[Any] | None = None,
  slices: int | None = None,
) -> Mesh:
  """A mesh of `data` × `model` devices.

  The axes are of type `AxisType.Auto`. jax's default since 0.9 is Explicit, under
  which a sharded embedding lookup and `lax.top_k` along a sharded axis are errors.

  Args:
    data: The number of copies of the model, each with its share of the batch; None
      for as many as the devices allow.
    model: The number of devices that share one copy of the model. They are in one
      slice.
    devices: The devices, or a topology's descriptions of them; None for all devices of
      all processes.
    slices: Into how many slices of equal size to divide the devices; None for those
      they are in (`slice_of`), and 1 to take no notice of slices.

  Returns:
    The mesh. `mesh.shape['data']` and `mesh.shape['model']` are its sizes. Rows of
    `mesh.devices` are slice by slice.

  Raises:
    ValueError: if the devices cannot be arranged so, or if some would be left over.
  """
  for name, size in ((DATA, data), (MODEL, model), ('slices', slices)):
    if size is not None and size < 1:
      raise ValueError(f'{name}={size}: the size of a mesh must be at least 1.')
  devices = list(jax.devices() if devices is None else devices)
  if data is None:
    data = _data_size(model, len(devices))
  if data * model != len(devices):
    raise ValueError(
      f'A mesh of data={data} × model={model} needs {data * model} devices, and there'
      f' are {len(devices)}. Leave data=None to use all of them, or pass'
      f' devices=jax.devices()[:{data * model}] to use fewer.'
    )
  groups = _slices(devices, slices)
  _check_whole(model, groups)
  shape = (data // len(groups), model)
  blocks = [_arrange(shape, group) for group in groups]
  axis_types = (AxisType.Auto, AxisType.Auto)
  return Mesh(np.concatenate(blocks), (DATA, MODEL), axis_types=axis_types)


def _data_size(model: int, devices: int) -> int:
  """How many copies of the model fit; an error if some devices would be left over."""
  if devices % model:
    raise ValueError(
      f'{devices} devices cannot be divided into groups of model={model}: {devices} %'
      f' {model} = {devices % model}. Choose model from {_divisors(devices)}, or pass'
      ' fewer devices.'
    )
  return devices // model


def _divisors(number: int) -> list[int]:
  return [size for size in range(1, number + 1) if number % size == 0]


def _slices(devices: list[Any], slices: int | None) -> list[list[Any]]:
  """The devices of each slice, in the order of the slices."""
  found: dict[int, list[Any]] = {}
  for device in devices:
    found.setdefault(slice_of(device), []).append(device)
  ordered = [found[index] for index in sorted(found)]
  if slices is None:
    sizes = {index: len(found[index]) for index in sorted(found)}
    if len(set(sizes.values())) > 1:
      raise ValueError(
        'Slices must give equally many devices, and there are (slice: devices)'
        f' {sizes}. Pass as many devices of each, or slices=1 to take no notice of'
        ' slices.'
      )
    return ordered
  if len(devices) % slices:
    raise ValueError(
      f'{len(devices)} devices cannot be divided into slices={slices}: {len(devices)} %'
      f' {slices} = {len(devices) % slices}. Choose slices from'
      f' {_divisors(len(devices))}.'
    )
  flat = [device for group in ordered for device in group]
  size = len(devices) // slices
  return [flat[start : start + size] for start in range(0, len(flat), size)]


def _check_whole(model: int, groups: list[list[Any]]) -> None:
  """Raises unless each slice holds whole copies of the model."""
  size = len(groups[0])
  if size % model:
    raise ValueError(
      f'A copy of the model on model={model} devices would be split between slices,'
      f' which have {size} devices each: {size} % {model} = {size % model}. Choose'
      f' model from {_divisors(size)}, or slices=1 to take no notice of slices, which'
      ' sends every all-reduce of the model over the slow network between them.'
    )


def _arrange(shape: tuple[int, int], devices: list[Any]) -> np.ndarray:
  """The devices of a slice, such that neighbours in the mesh are near on its network.

  `jax.make_mesh` refuses shapes for which an axis of a TPU's torus must be split (8 of
  16 × 16), except on v5e.
  """
  if len({slice_of(device) for device in devices}) > 1:  # They are told to be one.
    return np.array(devices).reshape(shape)
  return mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
