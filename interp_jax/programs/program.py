"""A jitted program with abstract inputs, and how it is designed to communicate."""

from collections.abc import Callable, Iterable, Sequence
import dataclasses
import math
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from interp_jax.sharding import DATA, MODEL
from interp_jax.sharding.collectives import Collective
from interp_jax.sharding.hlo import Shape

# Numbers that everybody must know, such as losses: whatever is as small as this.
SMALL = 4096


@dataclasses.dataclass(frozen=True)
class Allowed:
  """Communication that a program is designed to have.

  Attributes:
    what: What is sent, and why.
    kind: The kind of collective.
    axes: The mesh axes that it runs along.
    most: The largest array that is sent, in bytes: of an all-gather, what each device
      has at the end.
  """

  what: str
  kind: str
  axes: tuple[str, ...]
  most: int

  def covers(self, one: Collective, array: Shape) -> bool:
    """Whether an array that a collective sends is this one.

    The compiler joins small collectives to larger ones of the same kind and axes.
    """
    same = self.kind == one.kind and set(self.axes) == set(one.axes)
    return same and array.bytes * one.gathers <= self.most


@dataclasses.dataclass(frozen=True)
class Program:
  """A program, to be compiled for a mesh whose devices need not be there.

  Attributes:
    mesh: The mesh.
    lower: Gives what jax compiles.
    units: How many of its units a step takes in.
    unit: What it takes in, e.g. `'tokens'`.
    flops: Operations of the matrix products that a step is for, over all devices: what
      utilisation counts. Nothing that is computed twice, no attention.
    design: The communication that it is designed to have.
  """

  mesh: Mesh
  lower: Callable[[], jax.stages.Lowered]
  units: int
  unit: str
  flops: float
  design: tuple[Allowed, ...]

  def unplanned(self, found: Iterable[Collective]) -> list[Collective]:
    """The collectives that are not of the design, nor small sums."""
    design = (*self.design, *_sums())
    known = lambda one, array: any(rule.covers(one, array) for rule in design)
    return [one for one in found if not all(known(one, array) for array in one.shapes)]

  def missing(self, found: Sequence[Collective]) -> list[Allowed]:
    """What is designed along axes of more than one device, and was not found."""
    size = lambda rule: math.prod(self.mesh.shape[name] for name in rule.axes)
    wanted = (rule for rule in self.design if size(rule) > 1)
    sent = [(one, array) for one in found for array in one.shapes]
    return [rule for rule in wanted if not any(rule.covers(*pair) for pair in sent)]


def _sums() -> list[Allowed]:
  """Sums of a few numbers, along any axes."""
  along = [(DATA,), (MODEL,), (DATA, MODEL)]
  return [Allowed('a few numbers', 'all-reduce', axes, SMALL) for axes in along]


def placed(shape: Sequence[int], dtype: Any, mesh: Mesh, *spec: Any) -> Any:
  """The shape of an array that is on a mesh.

  Args:
    shape: Its shape.
    dtype: Its dtype.
    mesh: The mesh.
    *spec: What each of its axes is split over.
  """
  sharding = NamedSharding(mesh, PartitionSpec(*spec))
  return jax.ShapeDtypeStruct(tuple(shape), dtype, sharding=sharding)


def place_shapes(tree: Any, layout: Any) -> Any:
  """Shapes with the shardings of a tree of the same structure."""
  place = lambda leaf, where: jax.ShapeDtypeStruct(
    leaf.shape, leaf.dtype, sharding=where
  )
  return jax.tree.map(place, tree, layout)
