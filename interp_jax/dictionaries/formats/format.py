"""What a foreign format is: one page that says three things.

Which files of a folder are dictionaries of it, how one becomes a dictionary of ours,
and, where that is possible, how one of ours is written. To add a format, write a page
like `openai.py`:

1.  `find(path)` lists the dictionaries of the format at a path, by what files there
    are and what they are called; an empty list says that the path is not its.
2.  `read(path, facts)` takes every field of the config that it understands (`Fields`),
    makes a `DictionaryConfig`, and lists the tensors (`Row`). `open_tensors` compares
    names and shapes. It gives `Found`: nothing large has been read then.
3.  `write(path, dictionary, metadata)` does the reverse, and raises ValueError where
    the format has no place for what the dictionary does.
4.  A `Format` joins them, and `formats/__init__.py` lists it.
5.  A case in `tests/dictionaries/formats` for every option, and in `tests/peers` one
    that compares codes and outputs with the library that wrote the file.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import pathlib
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from interp_jax.core import unknown
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.dictionary import flat, unflat
from interp_jax.dictionaries.formats.stored import Stored, Tensors

FACTS = ('site', 'layer', 'k', 'input_scale')


@dataclasses.dataclass(frozen=True)
class Facts:
  """What the user says of a dictionary because its files do not.

  Attributes:
    site: The site that it reads.
    layer: The layer of the site.
    k: How many features of an example are active.
    input_scale: What inputs were multiplied by in training, where that is not folded
      into the weights.
    ignore_fields: Fields of the config that change nothing.
  """

  site: str | None = None
  layer: int | None = None
  k: int | None = None
  input_scale: float | None = None
  ignore_fields: tuple[str, ...] = ()

  @classmethod
  def of(cls, given: Mapping[str, Any], ignore_fields: Sequence[str]) -> 'Facts':
    """From keyword arguments; raises ValueError if one is not known."""
    for name in given:
      if name not in FACTS:
        raise ValueError(unknown('fact about a dictionary', name, FACTS))
    return cls(**given, ignore_fields=tuple(ignore_fields))

  def place(
    self, site: str | None, layer: int | None, out_site: str | None = None
  ) -> dict[str, Any]:
    """Site and layer for a config: as given, else as the files have them."""
    layer = layer if self.layer is None else self.layer
    place = {'site': self.site or site, 'layer': layer, 'out_site': out_site}
    return place | {'out_layer': layer if out_site else None}


class Found(NamedTuple):
  """A dictionary whose files have been understood, but not read.

  Attributes:
    metadata: What is known of it: the foreign config as it stands, and from it
      `format`, `model` and `context` where they are known.
    build: Reads the weights.
  """

  metadata: dict[str, Any]
  build: Callable[[], Any]


class Format(NamedTuple):
  """How the dictionaries of one library are read and written.

  Attributes:
    name: For `format=`.
    find: The dictionaries of the format at a path.
    read: Understands one of them.
    write: Writes one; None where that is not possible.
    facts: Which facts the user may give.
  """

  name: str
  find: Callable[[pathlib.Path], list[pathlib.Path]]
  read: Callable[[pathlib.Path, Facts], Found]
  write: Callable[[pathlib.Path, Any, Mapping[str, Any]], None] | None = None
  facts: tuple[str, ...] = ('site', 'layer')

  def check(self, facts: Facts) -> None:
    """Raises ValueError for facts that its pages do not ask for."""
    for name in FACTS:
      if getattr(facts, name) is not None and name not in self.facts:
        raise ValueError(
          f'{name}={getattr(facts, name)!r}: dictionaries of the format {self.name} do '
          f'not need it. They may be given {", ".join(self.facts) or "nothing"}.'
        )


class Row(NamedTuple):
  """One tensor of a file, and the parameter that it is.

  Attributes:
    source: Its name in the file.
    target: The parameter's; of a parameter in several parts, `W_dec.0`.
    axes: Where the parameter's axes stand in the file, as `np.transpose` has it: `(1,
      0)` for a transposed matrix; None for as they are.
  """

  source: str
  target: str
  axes: tuple[int, ...] | None = None


TRANSPOSED = (1, 0)


def rows(names: str, **renamed: str) -> list[Row]:
  """Rows of parameters that are in the file as here, and of some by another name."""
  kept = [Row(name, name) for name in names.split()]
  return [*kept, *(Row(source, target) for target, source in renamed.items())]


def open_tensors(
  where: str,
  tensors: Tensors,
  table: Sequence[Row],
  config: DictionaryConfig,
  unused: Sequence[str] = (),
  scalars: Sequence[str] = (),
) -> Callable[[], dict[str, Any]]:
  """Compares the tensors of a file with what a config asks for.

  Args:
    where: The file, for messages.
    tensors: Its tensors.
    table: Which of them is which parameter.
    config: The dictionary's config.
    unused: Tensors that change nothing, or that the page reads by itself.
    scalars: Parameters of all features that are one number in the file.

  Returns:
    What reads them: the parameters, as a tree.

  Raises:
    ValueError: if a tensor is missing, not known, or of another shape.
  """
  wanted = flat(config.shapes(), lambda shape: shape)
  known = {row.source for row in table}
  missing = sorted(known - tensors.keys())
  beyond = sorted(tensors.keys() - known - set(unused))
  if missing or beyond:
    raise ValueError(
      f'{where} does not hold the tensors of its kind of dictionary: it lacks '
      f'{missing or "none"}, and has {beyond or "none"} beyond.'
    )
  for row in table:
    shape = tensors[row.source].shape
    asked = () if row.target in scalars else wanted[row.target]
    there = asked if row.axes is None else tuple(asked[i] for i in np.argsort(row.axes))
    if shape != there:
      raise ValueError(
        f'{where}: {row.source} has shape {shape}; by its config and its other tensors '
        f'it should have {there}.'
      )

  def read() -> dict[str, Any]:
    found = {}
    for row in table:
      value = tensors[row.source].read()
      value = value if row.axes is None else value.transpose(row.axes)
      # A copy: what was read may be mapped from a file that can change.
      found[row.target] = jnp.array(np.broadcast_to(value, wanted[row.target]))
    return unflat(config, found)

  return read


def tensors_for(table: Sequence[Row], params: Mapping[str, Any]) -> dict[str, Any]:
  """The tensors of a file, from parameters: the reverse of `open_tensors`."""
  leaves, found = flat(params), {}
  for row in table:
    value = leaves[row.target]
    value = value if row.axes is None else value.transpose(np.argsort(row.axes))
    found[row.source] = np.ascontiguousarray(value)
  return found


def unit_factor(where: str, tensors: Tensors) -> list[str]:
  """The tensor `scaling_factor`, which some old files have, and which must be 1.

  Raises:
    ValueError: if it is not.
  """
  if 'scaling_factor' not in tensors:
    return []
  if not np.allclose(tensors['scaling_factor'].read(), 1):
    raise ValueError(f'{where}: a scaling_factor other than 1 is not supported.')
  return ['scaling_factor']


def features_of(where: str, tensors: Mapping[str, Stored], name: str, axis: int) -> int:
  """A length that the config does not say, from a matrix's shape.

  Raises:
    ValueError: if there is no such matrix.
  """
  if name not in tensors or axis >= len(tensors[name].shape):
    raise ValueError(f'{where} holds no matrix {name!r}: it has {sorted(tensors)}.')
  return tensors[name].shape[axis]
