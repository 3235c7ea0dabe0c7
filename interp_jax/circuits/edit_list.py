"""A list of edits as worlds: those of one structure are stacked and run together."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import jax
import numpy as np

from interp_jax import edits as edits_lib


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FromLeaves:
  """World (its number, and the leaves that differ) → edits.

  Attributes:
    shared: The leaves that all worlds have; None where they differ.
    structure: The structure of the edits.
  """

  shared: tuple[Any, ...]
  structure: Any = dataclasses.field(metadata={'static': True})

  def __call__(self, own: Sequence[Any]) -> edits_lib.Edits:
    left = iter(own[1:])
    leaves = [next(left) if leaf is None else leaf for leaf in self.shared]
    return jax.tree.unflatten(self.structure, leaves)


@dataclasses.dataclass(frozen=True)
class Group:
  """Worlds of one structure.

  Attributes:
    members: Their places in the list.
    edits_of: World → edits.
    worlds: The number of each world, and the leaves that differ, each with a leading
      axis.
  """

  members: tuple[int, ...]
  edits_of: FromLeaves
  worlds: tuple[np.ndarray, ...]


def stack_worlds(todo: Sequence[Mapping[str, Any]]) -> list[Group]:
  """Groups sets of edits by structure, shapes and dtypes.

  A leaf that is one object in all worlds of a group (a dictionary, a value that every
  world has another part of) is kept once.

  Args:
    todo: The sets of edits, each site → tuple of edits.

  Returns:
    The groups, in order of their first members.
  """
  groups: dict[Any, list[int]] = {}
  flat = [jax.tree.flatten(one) for one in todo]
  for i, (leaves, structure) in enumerate(flat):
    kinds = tuple((np.shape(leaf), str(jax.numpy.result_type(leaf))) for leaf in leaves)
    groups.setdefault((structure, kinds), []).append(i)
  return [_group(members, flat, key[0]) for key, members in groups.items()]


def _group(members: list[int], flat: list[Any], structure: Any) -> Group:
  shared, own = [], []
  for column in zip(*(flat[i][0] for i in members), strict=True):
    same = all(leaf is column[0] for leaf in column)
    # Numbers are cheap, and small ones are always one object.
    same = same and np.ndim(column[0]) > 0
    shared.append(column[0] if same else None)
    if not same:
      own.append(np.stack([np.asarray(leaf) for leaf in column]))
  # The number of the world too, for there may be nothing that differs.
  own = (np.arange(len(members)), *own)
  return Group(tuple(members), FromLeaves(tuple(shared), structure), own)
