"""Findings of the field, each reproduced and judged.

A library of methods is believed when it finds again what is known. Every finding is one
subpackage: it trains what it needs, measures with the methods of this library, compares
with bounds that stand in the code and with negative controls, and writes a page:

    result = reproduce(get('superposition'), 'runs/findings/superposition')
    result['holds']

`launch/reproduce.py` does this from the command line. A verdict is computed from the
numbers, never printed for its own sake; a finding that does not hold says so.
"""

import importlib

from interp_jax.core import unknown
from interp_jax.findings.finding import Finding, Outcome, Part, Picture, Quantity
from interp_jax.findings.reproduction import reproduce
from interp_jax.findings.run import Run, Stopped, Trained
from interp_jax.findings.table import results_table, times_table

NAMES = ('superposition', 'induction', 'modular_addition', 'ioi', 'othello')


def get(name: str) -> Finding:
  """A finding by its name.

  Args:
    name: One of `NAMES`.

  Raises:
    ValueError: if there is no such finding.
  """
  if name not in NAMES:
    raise ValueError(unknown('finding', name, NAMES))
  return importlib.import_module(f'{__name__}.{name}').FINDING


__all__ = [
  'NAMES',
  'Finding',
  'Outcome',
  'Part',
  'Picture',
  'Quantity',
  'Run',
  'Stopped',
  'Trained',
  'get',
  'reproduce',
  'results_table',
  'times_table',
]
