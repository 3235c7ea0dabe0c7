"""How fast a compiled program can be: by its products, its memory, its communication.

Three things take time, and a chip does them at once: matrix products, traffic of the
main memory, traffic between chips. The *roofline* of a step is the longest of the three
(Williams et al. 2009; for TPUs, Austin et al. 2025, jax-ml.github.io/scaling-book). The
step takes at least that, and no longer than their sum if nothing else holds it up. What
is done element by element (a top-k's comparisons, say) is in none of them.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import jax
from jax.sharding import Mesh

from interp_jax.sharding import costs as costs_lib
from interp_jax.sharding.collectives import Collective, find_collectives
from interp_jax.sharding.hlo import parse
from interp_jax.sharding.topology import Topology


@dataclasses.dataclass(frozen=True)
class Memory:
  """Bytes on each device.

  Attributes:
    arguments: What is given.
    outputs: What is returned, but for what takes the place of donated arguments.
    temporaries: What there is in between, at most.
    code: The program.
  """

  arguments: int
  outputs: int
  temporaries: int
  code: int

  @property
  def peak(self) -> int:
    """All of it."""
    return self.arguments + self.outputs + self.temporaries + self.code


@dataclasses.dataclass(frozen=True)
class Analysis:
  """What a compiled program is on a topology.

  Attributes:
    topology: For what it was compiled.
    mesh: The sizes of the mesh's axes.
    memory: Bytes on each device.
    costs: Of each device.
    collectives: What is communicated.
    seconds: 'compute', 'memory' and 'network' → seconds of a step.
    network: Mesh axes → seconds of the communication along them.
  """

  topology: Topology
  mesh: Mapping[str, int]
  memory: Memory
  costs: costs_lib.Costs
  collectives: tuple[Collective, ...]
  seconds: Mapping[str, float]
  network: Mapping[tuple[str, ...], float]

  @property
  def fits(self) -> bool:
    """Whether the memory suffices."""
    return self.memory.peak <= self.topology.hbm

  @property
  def step(self) -> float:
    """The roofline: seconds of a step, at the least."""
    return max(self.seconds.values())

  @property
  def binds(self) -> str:
    """What takes that long."""
    return max(self.seconds, key=lambda name: self.seconds[name])

  def utilisation(self, flops: float) -> float:
    """The share of all devices' peak.

    Args:
      flops: The operations of a step that count.
    """
    devices = len(self.topology.devices)
    return flops / (self.step * devices * self.topology.flops)


def analyse(compiled: jax.stages.Compiled, topology: Topology, mesh: Mesh) -> Analysis:
  """Reads a compiled program.

  Args:
    compiled: The program.
    topology: What it was compiled for.
    mesh: Its devices as a mesh.

  Returns:
    What it takes.
  """
  module = parse(compiled.as_text() or '')
  costs = costs_lib.count(module)
  found = find_collectives(module, mesh)
  network = network_seconds(found, topology, mesh)
  seconds = {
    'compute': costs.flops / topology.flops,
    'memory': costs.bytes / topology.hbm_rate,
    'network': sum(network.values()),
  }
  memory = memory_of(compiled.memory_analysis())
  sizes = dict(mesh.shape)
  return Analysis(topology, sizes, memory, costs, tuple(found), seconds, network)


def network_seconds(
  collectives: Sequence[Collective], topology: Topology, mesh: Mesh
) -> dict[tuple[str, ...], float]:
  """Mesh axes → seconds in which what goes along them can be sent."""
  out: dict[tuple[str, ...], float] = {}
  for one in collectives:
    took = one.sent / topology.rate(mesh, one.axes)
    out[one.axes] = out.get(one.axes, 0.0) + took
  return out


def memory_of(stats: Any) -> Memory:
  """What XLA says of a program's memory; donated arguments count once."""
  return Memory(
    arguments=stats.argument_size_in_bytes,
    outputs=stats.output_size_in_bytes - stats.alias_size_in_bytes,
    temporaries=stats.temp_size_in_bytes,
    code=stats.generated_code_size_in_bytes,
  )
