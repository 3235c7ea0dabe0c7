"""Error messages that say what was given, what is allowed and what to do."""

from collections.abc import Iterable, Mapping
import dataclasses
import difflib
from typing import Any


def unknown(kind: str, given: object, allowed: Iterable[str]) -> str:
  """The message for a name that is not in a list of names.

  Args:
    kind: What the name names, e.g. `'site'`.
    given: What was given.
    allowed: The valid names, in the order in which to show them.

  Returns:
    One line: what was given, the closest valid name if one is close, and all valid
    names.
  """
  allowed = list(allowed)
  close = difflib.get_close_matches(str(given), allowed, n=1)
  hint = f' Did you mean {close[0]!r}?' if close else ''
  return f'Unknown {kind} {given!r}.{hint} Valid: {", ".join(allowed)}.'


def known(cls: Any, given: Mapping[str, Any], kind: str) -> dict[str, Any]:
  """What was given for a dataclass, if it has all these fields.

  Args:
    cls: The dataclass.
    given: Field → value.
    kind: What a field is called in the message.

  Returns:
    The same, to be changed at will.

  Raises:
    ValueError: if the dataclass has no such field.
  """
  fields = [field.name for field in dataclasses.fields(cls)]
  for name in given:
    if name not in fields:
      raise ValueError(unknown(kind, name, fields))
  return dict(given)
