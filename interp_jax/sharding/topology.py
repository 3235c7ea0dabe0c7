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
from interp_jax.sharding.mesh import slice_of


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
    sizes: How many there are along each axis of a slice.
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
    Axes that lie along several axes of the torus have the links of all of them. What
    is sent between slices goes through the data centre's network besides.

    Args:
      mesh: A mesh of this topology.
      axes: The axes of it that take part.
    """
    partners = _partners(mesh, axes)
    coords = np.array([device.coords for device in partners])
    total = 0.0
    for places, size in zip(coords.T, self.sizes, strict=False):
      places = np.unique(places)
      if len(places) == 1:
        continue
      step = int(np.diff(places).min())
      closed = size % self.chip.ring == 0 and len(places) * step == size
      total += self.chip.link_rate * (2 if closed else 1) / step
    # Devices of one chip share its memory.
    inside = total / self.chip.cores if total else self.hbm_rate
    slices = len({slice_of(device) for device in partners})
    if slices == 1:
      return inside
    # First within slices; then each device has its share of what goes between them.
    between = self.chip.dcn_rate / self.chip.cores
    between *= (len(partners) - 1) / (slices - 1)
    return 1 / (1 / inside + 1 / between)


def _partners(mesh: Mesh, axes: Sequence[str]) -> np.ndarray:
  """The first device, and those that it shares some axes of the mesh with."""
  index = tuple(slice(None) if name in axes else 0 for name in mesh.axis_names)
  return np.asarray(mesh.devices[index]).ravel()


def parse_topology(name: str) -> tuple[Chip, tuple[int, ...], int]:
  """The chip, the sizes of a slice and the number of slices that a name gives.

  Args:
    name: `CHIP:AxB` or `CHIP:AxBxC`, and `*N` behind it for N slices.

  Raises:
    ValueError: if it is not of this form, or there is no such chip.
  """
  chip, _, sizes = name.partition(':')
  if chip not in CHIPS:
    raise ValueError(unknown('TPU', chip, CHIPS))
  found = re.fullmatch(r'(\d+(?:x\d+){1,2})(?:\*([1-9]\d*))?', sizes)
  if found is None:
    raise ValueError(
      f'{name!r} is no topology: give sizes behind the chip, e.g. v5e:4x4, v5p:8x8x8.'
    )
  return CHIPS[chip], tuple(map(int, found[1].split('x'))), int(found[2] or 1)


def make_topology(name: str) -> Topology:
  """The devices of a topology, to compile for.

  Args:
    name: E.g. `'v5e:16x16'`, `'v5p:8x8x8'`, `'v6e:16x16'`, `'tpu7x:4x4x4'`; or
      `'v5e:16x16*2'`, two slices.

  Returns:
    The topology.

  Raises:
    ValueError: if there is no such topology.
    RuntimeError: if libtpu is not installed (`pip install 'interp_jax[tpu-compile]'`).
  """
  from jax.experimental import topologies

  chip, sizes, slices = parse_topology(name)
  one, more = name.partition('*')[0], {'num_slices': slices} if slices > 1 else {}
  try:
    devices = topologies.get_topology_desc(one, 'tpu', **more).devices
  except RuntimeError as error:
    raise RuntimeError(
      f'No TPU compiler for {name}: {error}. Install it with'
      " pip install 'interp_jax[tpu-compile]', and set TPU_SKIP_MDS_QUERY=1."
    ) from error
  expected = math.prod(sizes) * chip.cores * slices
  if len(devices) != expected:
    raise ValueError(
      f'{name} has {len(devices)} devices, where {expected} were expected.'
    )
  return Topology(name, chip, sizes, tuple(devices))
