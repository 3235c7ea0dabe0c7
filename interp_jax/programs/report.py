"""What was found of compiled programs: as JSON, and as tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from interp_jax.programs.program import Program
from interp_jax.sharding.roofline import Analysis

Record = dict[str, Any]
GIB = 2**30


def as_record(name: str, program: Program, analysis: Analysis) -> Record:
  """All that is known of a compiled program, as JSON types.

  Args:
    name: What to call it.
    program: The program.
    analysis: What its compilation showed.
  """
  memory, devices = analysis.memory, len(analysis.topology.devices)
  return {
    'name': name,
    'topology': analysis.topology.name,
    'mesh': dict(analysis.mesh),
    'units': program.units,
    'unit': program.unit,
    'memory_bytes': {
      'arguments': memory.arguments,
      'outputs': memory.outputs,
      'temporaries': memory.temporaries,
      'code': memory.code,
      'peak': memory.peak,
      'available': analysis.topology.hbm,
    },
    'fits': analysis.fits,
    'flops_per_device': analysis.costs.flops,
    'bytes_per_device': analysis.costs.bytes,
    'model_flops_per_device': program.flops / devices,
    'unknown_loops': analysis.costs.unknown_loops,
    'collectives': [
      {
        'kind': one.kind,
        'axes': list(one.axes),
        'arrays': [f'{s.dtype}{list(s.dims)}' for s in one.shapes],
        'times': one.times,
        'bytes': one.size,
        'bytes_sent_per_device': one.sent,
        'source': one.source,
      }
      for one in analysis.collectives
    ],
    'unplanned': [str(one) for one in program.unplanned(analysis.collectives)],
    'seconds': dict(analysis.seconds),
    'network_seconds': {
      ' x '.join(axes): took for axes, took in analysis.network.items()
    },
    'step_seconds': analysis.step,
    'step_seconds_without_overlap': sum(analysis.seconds.values()),
    'binds': analysis.binds,
    'units_per_second': program.units / analysis.step,
    'utilisation': analysis.utilisation(program.flops),
  }


def summary(records: Sequence[Mapping[str, Any]]) -> str:
  """A table with a row for each program, in Markdown."""
  head = (
    'program',
    'topology',
    'mesh',
    'a step',
    'GiB of a chip',
    'compute, memory, network ms',
    'binds',
    'a second',
    'MFU',
  )
  return _table(head, [_row(record) for record in records])


def _row(record: Mapping[str, Any]) -> list[str]:
  mesh = ' × '.join(f'{name} {size}' for name, size in record['mesh'].items())
  name, unit = record['name'], record['unit']
  if 'seconds' not in record:
    units = f'{record["units"]:,} {unit}'
    return [name, record['topology'], mesh, units, record['error'], *['–'] * 4]
  memory, seconds = record['memory_bytes'], record['seconds']
  fits = 'fits' if record['fits'] else 'does not fit'
  times = (1000 * seconds[part] for part in ('compute', 'memory', 'network'))
  return [
    name,
    record['topology'],
    mesh,
    f'{record["units"]:,} {unit}',
    f'{memory["peak"] / GIB:.2f} of {memory["available"] / GIB:.0f}, {fits}',
    ', '.join(f'{time:.1f}' for time in times),
    record['binds'],
    f'{record["units_per_second"]:,.0f} {unit}',
    f'{record["utilisation"]:.0%}',
  ]


def communication(record: Mapping[str, Any]) -> str:
  """A table of the collectives of a program, in Markdown; the small ones together."""
  rows, small = [], 0.0
  for one in sorted(record['collectives'], key=lambda c: -c['bytes_sent_per_device']):
    sent = one['bytes_sent_per_device']
    if sent < 1e6:
      small += sent
      continue
    kind = f'{one["times"]} × {one["kind"]}'
    along = ' × '.join(one['axes'])
    rows.append([kind, ' '.join(one['arrays']), along, f'{sent / 1e6:,.1f}'])
  if small:
    rows.append(['others', '', '', f'{small / 1e6:.2f}'])
  return _table(('collective', 'a chip gives', 'along', 'MB sent by a chip'), rows)


def scaling(records: Sequence[Mapping[str, Any]]) -> str:
  """A table of one program on topologies of several sizes, in Markdown."""
  done = [record for record in records if 'seconds' in record]
  rows = []
  for record in done:
    growth = record['step_seconds'] / done[0]['step_seconds'] - 1
    whole = record['step_seconds_without_overlap']
    grown = whole / done[0]['step_seconds_without_overlap'] - 1
    rows.append(
      [
        record['name'],
        record['topology'],
        f'{record["units"]:,} {record["unit"]}',
        f'{1000 * record["step_seconds"]:.2f}',
        f'{growth:+.1%}',
        f'{1000 * whole:.2f}',
        f'{grown:+.1%}',
        f'{record["units_per_second"]:,.0f} {record["unit"]}',
      ]
    )
  head = (
    'program',
    'topology',
    'a step',
    'roofline ms',
    'growth',
    'without overlap ms',
    'growth',
    'a second',
  )
  return _table(head, rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  lines = [head, ['---'] * len(head), *rows]
  return '\n'.join(f'| {" | ".join(line)} |' for line in lines)
