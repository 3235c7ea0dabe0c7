"""A foreign config, each field of which somebody has to answer for.

A field that is passed over in silence is a wrong number later. Who reads the config
takes every field that they understand and says which change nothing; `finish` raises
about the rest.
"""

from collections.abc import Iterable, Mapping
import json
import pathlib
from typing import Any

from interp_jax.core.errors import unknown


class Fields:
  """The fields of one config file."""

  def __init__(self, values: Mapping[str, Any], where: str):
    """Of parsed data.

    Args:
      values: Name → value.
      where: The file, for messages.
    """
    self.values = dict(values)
    self.where = where
    self._open = set(values)

  @classmethod
  def read(cls, file: pathlib.Path) -> 'Fields':
    """Of a JSON file.

    Raises:
      ValueError: if it is not an object in JSON.
    """
    try:
      values = json.loads(file.read_text(encoding='utf-8'))
    except ValueError as error:
      raise ValueError(f'{file} is not JSON: {error}.') from error
    if not isinstance(values, dict):
      raise ValueError(f'{file} holds a {type(values).__name__}, not an object.')
    return cls(values, str(file))

  def take(self, name: str, default: Any = None) -> Any:
    """The value of a field; the default if it is not there, or null."""
    self._open.discard(name)
    value = self.values.get(name)
    return default if value is None else value

  def need(self, name: str) -> Any:
    """The value of a field that must be there."""
    value = self.take(name)
    if value is None:
      raise ValueError(f'{self.where} lacks {name!r}.')
    return value

  def part(self, name: str) -> 'Fields':
    """The fields of an object inside, to be finished on their own."""
    value = self.take(name, {})
    if not isinstance(value, Mapping):
      raise ValueError(f'{self.where}: {name} is {value!r}, not an object.')
    return Fields(value, f'{self.where}, {name}')

  def choose(self, name: str, allowed: Mapping[Any, Any], default: Any = None) -> Any:
    """What a field's value stands for."""
    value = self.take(name, default)
    if value not in allowed:
      raise ValueError(f'{self.where}: ' + unknown(name, value, map(str, allowed)))
    return allowed[value]

  def require(
    self, name: str, *allowed: Any, default: Any = None, why: str = ''
  ) -> None:
    """Refuses a file whose field has a value that nothing here computes."""
    value = self.take(name, default)
    if value not in allowed:
      raise ValueError(
        f'{self.where}: {name}={value!r} is not supported, only '
        f'{" or ".join(map(repr, allowed))}. {why}'.rstrip()
      )

  def ignore(self, *names: str) -> None:
    """Says of fields that they change nothing."""
    self._open.difference_update(names)

  def ignore_rest(self) -> None:
    """Says so of all other fields."""
    self._open.clear()

  def finish(self, also: Iterable[str] = ()) -> None:
    """Refuses fields that nobody has taken.

    Args:
      also: Names that the user vouches for.

    Raises:
      ValueError: if a field is left.
    """
    left = sorted(self._open - set(also))
    if left:
      shown = ', '.join(f'{name}={self.values[name]!r}' for name in left)
      raise ValueError(
        f'{self.where} has fields that are not known here: {shown}. If you know that '
        f'they change nothing, load it with ignore_fields={left!r}.'
      )
