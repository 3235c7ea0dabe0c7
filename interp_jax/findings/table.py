"""Results of findings as tables in Markdown, for a README."""

from collections.abc import Mapping, Sequence
from typing import Any

from interp_jax import report
from interp_jax.findings.finding import Quantity
from interp_jax.findings.page import bound_text

Json = Mapping[str, Any]


def results_table(results: Sequence[Json]) -> str:
  """What was found beside what the papers print, as Markdown.

  A row for each quantity that tells the story; controls say so. Where there are several
  seeds, the worst stands behind the mean.

  Args:
    results: What `result.json` files hold.
  """
  rows = [
    (
      result['finding'] if first else '',
      quantity['meaning'] + (' (control)' if quantity['control'] else ''),
      quantity['paper'] or '–',
      _measured(quantity),
      _bound(quantity),
      str(len(quantity['values'])),
    )
    for result in results
    for first, quantity in _numbered(result['quantities'])
  ]
  head = ('finding', 'quantity', 'paper', 'ours: mean (worst)', 'asked', 'values')
  return _markdown(head, rows)


def times_table(results: Sequence[Json]) -> str:
  """The verdict on each finding, how many bounds it keeps, and how long it took.

  Args:
    results: What `result.json` files hold.
  """
  rows = []
  for result in results:
    bounded = [q for q in result['quantities'] if _is_bounded(q)]
    kept = sum(q['holds'] for q in bounded)
    rows.append(
      (
        result['finding'],
        result['paper'],
        'holds' if result['holds'] else 'does not hold',
        f'{kept} of {len(bounded)}',
        report.duration(result['seconds']['total']),
        report.duration(result['cpu_seconds']),
        str(result['seed']),
      )
    )
  head = ('finding', 'paper', 'verdict', 'bounds kept', 'time', 'processor', 'seed')
  return _markdown(head, rows)


def _numbered(quantities: Sequence[Json]) -> list[tuple[bool, Json]]:
  """Those that tell the story, the first one marked."""
  shown = [quantity for quantity in quantities if quantity['headline']]
  return [(index == 0, quantity) for index, quantity in enumerate(shown)]


def _is_bounded(quantity: Json) -> bool:
  return quantity['at_least'] is not None or quantity['at_most'] is not None


def _measured(quantity: Json) -> str:
  mean, worst = (_number(quantity[key]) for key in ('mean', 'worst'))
  return mean if len(quantity['values']) == 1 else f'{mean} ({worst})'


def _number(value: float | None) -> str:
  return '–' if value is None else report.number(value)


def _bound(quantity: Json) -> str:
  bounds = {key: quantity[key] for key in ('at_least', 'at_most')}
  text = bound_text(Quantity('bound', '', (0.0,), **bounds))
  broken = _is_bounded(quantity) and not quantity['holds']
  return f'{text}, **broken**' if broken else text


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  lines = [head, ['---'] * len(head), *rows]
  return ''.join(
    f'| {" | ".join(cell.replace("|", chr(92) + "|") for cell in line)} |\n'
    for line in lines
  )
