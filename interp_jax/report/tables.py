"""Tables and numbers as HTML: right-aligned figures, a caption, units in the head."""

from collections.abc import Mapping, Sequence
import math

from markupsafe import Markup, escape
import numpy as np

from interp_jax.report.types import Number


def number(value: Number, digits: int = 3) -> str:
  """A number for a reader: thousands apart, no trailing noise, a true minus sign.

  Args:
    value: what to write; an integer is written in full.
    digits: significant digits of a number that is not an integer. Numbers of more
      digits before the point than this are rounded to an integer, not cut.

  Returns:
    The text, `–` when the value is not finite.
  """
  if isinstance(value, bool | np.bool_):
    return 'yes' if value else 'no'
  value = int(value) if isinstance(value, int | np.integer) else float(value)
  if not math.isfinite(value):
    return '–'
  if isinstance(value, int):
    text = f'{value:,}'
  elif value and not 1e-4 <= abs(value) < 1e7:
    text = f'{value:.{digits - 1}e}'
  else:
    exponent = int(f'{value:.{digits - 1}e}'.partition('e')[2])
    places = digits - 1 - exponent
    text = f'{value:,.{max(places, 0)}f}'
  return text.replace('-', '−')


def percent(fraction: Number, places: int = 1) -> str:
  """A fraction as per cent; a fraction too small to show is `<`, never a false 0."""
  least = 10.0**-places
  if 0 < fraction * 100 < least:
    return f'< {least:g} %'
  return f'{fraction * 100:.{places}f} %'.replace('-', '−')


def duration(seconds: Number) -> str:
  """Seconds as `8.2 s`, `3 min 05 s` or `1 h 02 min`."""
  seconds = float(seconds)
  seconds = float(seconds)
  if round(seconds, 1) < 60:
    return f'{seconds:.1f} s'
  minutes, rest = divmod(round(seconds), 60)
  if minutes < 60:
    return f'{minutes} min {rest:02d} s'
  return f'{minutes // 60} h {minutes % 60:02d} min'


def table(
  columns: Sequence[str],
  rows: Sequence[Sequence[object]],
  *,
  caption: str,
  text_columns: Sequence[int] = (0,),
) -> Markup:
  """A table whose numbers line up.

  Args:
    columns: the head of each column, with its unit.
    rows: one sequence of cells per row. Text is escaped, `Markup` is taken as it is,
      numbers go through `number`.
    caption: what the table says, in a sentence.
    text_columns: the columns that hold words and are aligned left.

  Returns:
    The element.

  Raises:
    ValueError: when a row has another number of cells than there are columns.
  """
  for index, row in enumerate(rows):
    if len(row) != len(columns):
      raise ValueError(
        f'row {index} has {len(row)} cells; the table has {len(columns)} columns'
      )
  head = Markup('').join(
    Markup('<th scope="col"{}>{}</th>').format(_align(i, text_columns), name)
    for i, name in enumerate(columns)
  )
  body = Markup('').join(_row(row, text_columns) for row in rows)
  return Markup(
    '<div class="scroll" tabindex="0" role="region" aria-label="{}"><table>'
    '<caption>{}</caption><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>'
  ).format(caption, caption, head, body)


def pairs(items: Mapping[str, object], *, caption: str) -> Markup:
  """A table of two columns, a name and its value, without a head."""
  body = Markup('').join(
    Markup('<tr><th scope="row">{}</th><td class="text">{}</td></tr>').format(
      name, _setting(value)
    )
    for name, value in items.items()
  )
  return Markup(
    '<div class="scroll"><table class="pairs"><caption>{}</caption>'
    '<tbody>{}</tbody></table></div>'
  ).format(caption, body)


def _setting(value: object) -> Markup:
  """A lone number: as short as it can be said (5e-4 is 0.0005, not 0.000500)."""
  if isinstance(value, float) and float(f'{value:.3g}') == value:
    return escape(f'{value:g}'.replace('-', '−'))
  return _cell(value)


def _row(row: Sequence[object], text_columns: Sequence[int]) -> Markup:
  cells = [
    Markup('<td{}>{}</td>').format(_align(i, text_columns), _cell(value))
    for i, value in enumerate(row)
  ]
  return Markup('<tr>{}</tr>').format(Markup('').join(cells))


def _align(index: int, text_columns: Sequence[int]) -> Markup:
  return Markup(' class="text"') if index in text_columns else Markup('')


def _cell(value: object) -> Markup:
  if isinstance(value, str):
    return escape(value)
  if value is None:
    return Markup('–')
  if isinstance(value, int | float | np.number):
    return escape(number(value))
  return escape(str(value))
