"""Error messages that say what was given, what is allowed and what to do."""

from collections.abc import Iterable
import difflib


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
