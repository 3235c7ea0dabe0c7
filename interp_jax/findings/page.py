"""The page of a finding: the verdict first, then the story, then how it was done."""

from collections.abc import Sequence
from typing import Any

from interp_jax import report
from interp_jax.findings.finding import Finding, Outcome, Part, Quantity
from interp_jax.report import Page, Section, Tile


def make_page(finding: Finding, outcome: Outcome, result: dict[str, Any]) -> Page:
  """Composes the page; `report.write` puts it into a file.

  Args:
    finding: What was reproduced.
    outcome: What was found.
    result: The same as JSON, with seeds, times and settings.
  """
  headlines = [q for q in outcome.quantities if q.headline]
  return Page(
    title=finding.title,
    lead=[finding.claim, verdict(outcome), *_quick(result)],
    sections=[_summary(outcome), *map(lambda p: _section(p, outcome), outcome.parts)]
    + [_setup(finding, result)],
    tiles=[_tile(quantity) for quantity in headlines],
    footer=f'Reproduces {finding.paper}. Made by interp_jax.',
  )


def verdict(outcome: Outcome) -> str:
  """The verdict in words, which names what does not hold."""
  bounded = [q for q in outcome.quantities if q.bounded]
  broken = [q.name for q in bounded if not q.holds]
  if broken:
    return (
      f'Verdict: this does not hold. Of {len(bounded)} bounds, {len(broken)} are '
      f'broken: {", ".join(broken)}.'
    )
  controls = sum(q.control for q in bounded)
  return (
    f'Verdict: this holds. All {len(bounded)} bounds are kept in every seed; '
    f'{controls} of them are negative controls, which fail as they should.'
  )


def bound_text(quantity: Quantity) -> str:
  """The bound in signs: `≥ 0.9`, `≤ 0.1`, `0.48 to 0.52`, `–` where there is none."""
  low, high = quantity.at_least, quantity.at_most
  if low is not None and high is not None:
    return f'{_short(low)} to {_short(high)}'
  if low is not None:
    return f'≥ {_short(low)}'
  return '–' if high is None else f'≤ {_short(high)}'


def _short(value: float) -> str:
  return f'{value:.4g}'.replace('-', '−')


def _quick(result: dict[str, Any]) -> list[str]:
  if not result['quick']:
    return []
  return ['This was a quick look, with less training than the claim needs.']


def _tile(quantity: Quantity) -> Tile:
  name = quantity.name.replace('_', ' ')
  bound = f' ({bound_text(quantity)} asked)' if quantity.bounded else ''
  return Tile(report.number(quantity.worst), name, quantity.meaning + bound)


def _summary(outcome: Outcome) -> Section:
  bounded = [q for q in outcome.quantities if q.bounded]
  return Section(
    'What was asked and what was found',
    (
      'Each row is a bound that stood in the code before this run, whose seeds are its '
      'own. It has to hold for every seed: beside the mean stands the seed that comes '
      'nearest to breaking it. Controls are cases in which the effect must be absent: '
      'a method that finds it there as well would find it anywhere.',
    ),
    [_table(bounded, 'Results and their negative controls.')],
  )


def _section(part: Part, outcome: Outcome) -> Section:
  blocks = [
    report.figure(p.figure, alt=p.alt, caption=p.caption) for p in part.pictures
  ]
  if part.quantities:
    blocks.append(_table(outcome.select(part.quantities), f'{part.title}, measured.'))
  return Section(part.title, part.text, blocks)


def _table(quantities: Sequence[Quantity], caption: str) -> Any:
  rows = [
    (
      q.name.replace('_', ' ') + (' (control)' if q.control else ''),
      q.meaning,
      q.paper or '–',
      q.mean,
      q.worst,
      bound_text(q),
      ('yes' if q.holds else 'NO') if q.bounded else '–',
      len(q.values),
    )
    for q in quantities
  ]
  head = ('quantity', 'meaning', 'paper', 'mean', 'worst', 'bound', 'holds', 'values')
  return report.table(head, rows, caption=caption, text_columns=(0, 1, 2, 5, 6))


def _setup(finding: Finding, result: dict[str, Any]) -> Section:
  seconds = {name: report.duration(value) for name, value in result['seconds'].items()}
  seeds = {'all, derived from': result['seed']} | {
    name: ', '.join(map(str, values)) for name, values in result['seeds'].items()
  }
  blocks = [
    report.pairs(_flat(result['settings']), caption='Settings.'),
    report.pairs(seeds, caption='Seeds.'),
    report.pairs(
      seconds | {'processor, all cores': report.duration(result['cpu_seconds'])},
      caption='Time.',
    ),
    report.pairs(result['environment'], caption='Where it ran.'),
  ]
  return Section('How it was done', (f'The paper: {finding.paper}.',), blocks)


def _flat(settings: dict[str, Any], prefix: str = '') -> dict[str, Any]:
  """Nested settings as `name.name`, values as they can be shown."""
  found: dict[str, Any] = {}
  for name, value in settings.items():
    if isinstance(value, dict):
      found |= _flat(value, f'{prefix}{name}.')
    elif isinstance(value, list | tuple):
      found[prefix + name] = ', '.join(map(str, value))
    else:
      found[prefix + name] = '–' if value is None or value == '' else value
  return found
