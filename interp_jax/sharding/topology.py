"""TPU topologies to compile for, and what is published of their chips.

`libtpu` has the compiler of every TPU, and needs none of them:

    topology = make_topology('v5e:16x16')
    mesh = make_mesh(model=16, devices=topology.devices)
    compiled = jax.jit(f, ...).lower(*shapes).compile()

Its devices have no memory: nothing can be put on them, and programs are lowered from
`jax.ShapeDtypeStruct`s. Environment: `JAX_PLATFORMS=cpu TPU_SKIP_MDS_QUERY=1`.

Sources, all under docs.cloud.google.com/tpu/docs: `v5e`, `v5p`, `v6e`, `tpu7x`. The
rate of a link is the published bidirectional rate of a chip over twice its ports.
"""

from collections.abc import Sequence
import dataclasses
import math
import re
from typing import Any

from jax.sharding import Mesh
import numpy as np

from interp_jax.core import unknown


@dataclasses.dataclass(frozen=True)
class Chip:
  """A kind of TPU, as published; rates are per second, sizes in bytes.

  Attributes:
    name: As in the names of topologies.
    flops: Peak of bfloat16 matrix products.
    hbm: Size of the memory.
    hbm_rate: Bytes to or from it.
    link_rate: Bytes through one of its links to other chips, one way.
    dcn_rate: Bytes through the data centre's network, to other slices.
    ring: Axes of a slice whose length this divides are closed to rings.
    cores: Devices of a chip, as jax counts them.
  """

  name: str
  flops: float
  hbm: int
  hbm_rate: float
  link_rate: float
  dcn_rate: float
  ring: int
  cores: int = 1


GIB = 2**30
CHIPS = {
  'v5e': Chip('v5e', 197e12, 16 * GIB, 819e9, 50e9, 3.1e9, 16),
  'v5p': Chip('v5p', 459e12, 95 * GIB, 2765e9, 100e9, 6.2e9, 4),
  'v6e': Chip('v6e', 918e12, 32 * GIB, 1638e9, 100e9, 12.5e9, 16),
  'tpu7x': Chip('tpu7x', 2307e12, 192 * GIB, 7380e9, 100e9, 12.5e9, 4, cores=2),
}


@dataclasses.dataclass(frozen=True)
class Topology:
  """Chips and how they are joined.

  Attributes:
    name: E.g. `'v5e:16x16'`.
    chip: What they are.
    sizes: How many there are along each axis.
    devices: jax's devices, to compile for.
  """

  name: str
  chip: Chip
  sizes: tuple[int, ...]
  devices: tuple[Any, ...]

  @property
  def flops(self) -> float:
    """The peak of one device."""
    return self.chip.flops / self.chip.cores

  @property
  def hbm(self) -> int:
    """The memory of one device."""
    return self.chip.hbm // self.chip.cores

  @property
  def hbm_rate(self) -> float:
    """The rate of one device's memory."""
    return self.chip.hbm_rate / self.chip.cores

  def rate(self, mesh: Mesh, axes: Sequence[str]) -> float:
    """Bytes a second that each device can send among those of some axes of a mesh.

    A ring has a link to either side. A line that is no ring sends through one link at
    its bottleneck, and where a mesh axis takes every n-th chip, n rings share a link.
    Axes that lie along several axes of the torus have the links of all of them.

    Args:
      mesh: A mesh of this topology.
      axes: The axes of it that take part.
    """
    coords = _coordinates(mesh, axes)
    total = 0.0
    for places, size in zip(coords.T, self.sizes, strict=False):
      places = np.unique(places)
      if len(places) == 1:
        continue
      step = int(np.diff(places).min())
      closed = size % self.chip.ring == 0 and len(places) * step == size
      total += self.chip.link_rate * (2 if closed else 1) / step
    # Devices of one chip share its memory.
    return total / self.chip.cores if total else self.hbm_rate


def _coordinates(mesh: Mesh, axes: Sequence[str]) -> np.ndarray:
  """Where the first device's partners along some axes are, `[partners, 3]`."""
  index = tuple(slice(None) if name in axes else 0 for name in mesh.axis_names)
  devices = np.asarray(mesh.devices[index]).ravel()
  return np.array([device.coords for device in devices])


def parse_topology(name: str) -> tuple[Chip, tuple[int, ...]]:
  """The chip and the sizes that a name gives.

  Args:
    name: `CHIP:AxB` or `CHIP:AxBxC`.

  Raises:
    ValueError: if it is not of this form, or there is no such chip.
  """
  chip, _, sizes = name.partition(':')
  if chip not in CHIPS:
    raise ValueError(unknown('TPU', chip, CHIPS))
  if not re.fullmatch(r'\d+(x\d+){1,2}', sizes):
    raise ValueError(
      f'{name!r} is no topology: give sizes behind the chip, e.g. v5e:4x4, v5p:8x8x8.'
    )
  return CHIPS[chip], tuple(map(int, sizes.split('x')))


def make_topology(name: str) -> Topology:
  """The devices of a topology, to compile for.

  Args:
    name: E.g. `'v5e:4x4'`, `'v5e:16x16'`, `'v5p:8x8x8'`, `'v6e:16x16'`,
      `'tpu7x:4x4x4'`.

  Returns:
    The topology.

  Raises:
    ValueError: if there is no such topology.
    RuntimeError: if libtpu is not installed (`pip install 'interp_jax[tpu-compile]'`).
  """
  from jax.experimental import topologies

  chip, sizes = parse_topology(name)
  try:
    devices = topologies.get_topology_desc(name, 'tpu').devices
  except RuntimeError as error:
    raise RuntimeError(
      f'No TPU compiler for {name}: {error}. Install it with'
      " pip install 'interp_jax[tpu-compile]', and set TPU_SKIP_MDS_QUERY=1."
    ) from error
  if len(devices) != math.prod(sizes) * chip.cores:
    raise ValueError(
      f'{name} has {len(devices)} devices, where {math.prod(sizes) * chip.cores} were'
      ' expected.'
    )
  return Topology(name, chip, sizes, tuple(devices))
