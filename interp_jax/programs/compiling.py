"""Compiling programs of a configuration for topologies; the largest batch that fits."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from interp_jax.programs.program import Program
from interp_jax.programs.read import read_program
from interp_jax.programs.report import Record, as_record
from interp_jax.sharding import make_mesh
from interp_jax.sharding.roofline import Analysis, analyse
from interp_jax.sharding.topology import make_topology


class DoesNotFitError(RuntimeError):
  """The compiler found no way to run a program in a chip's memory."""


def compile_program(
  values: Mapping[str, Any], topology: str, per_device: int
) -> tuple[Program, Analysis]:
  """Compiles the program of a configuration and reads what came of it.

  Args:
    values: The configuration, see configs/compile/.
    topology: What to compile it for.
    per_device: Rows, sequences or worlds of a step, for each device.

  Returns:
    The program, and what it takes.

  Raises:
    DoesNotFitError: if the compiler says so.
    ValueError: if the parts do not fit each other.
  """
  target = make_topology(topology)
  mesh = make_mesh(model=values['mesh']['model'], devices=target.devices)
  program = read_program(values, mesh, per_device)
  lowered = program.lower()
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    raise DoesNotFitError(str(error).partition('\n')[0]) from error
  return program, analyse(compiled, target, mesh)


def compile_record(
  values: Mapping[str, Any], topology: str, per_device: int | None = None
) -> Record:
  """`compile_program` as JSON types, also where the program does not fit.

  Args:
    values: The configuration.
    topology: What to compile it for.
    per_device: As in `compile_program`; None for the configuration's.
  """
  each = values['per_device'] if per_device is None else per_device
  try:
    program, analysis = compile_program(values, topology, each)
  except DoesNotFitError as error:
    model = values['mesh']['model']
    devices = len(make_topology(topology).devices)
    return {
      'name': values['name'],
      'topology': topology,
      'mesh': {'data': devices // model, 'model': model},
      'units': each * devices,
      'unit': 'given',
      'fits': False,
      'error': f'does not fit: {error}',
    }
  return as_record(values['name'], program, analysis) | {'per_device': each}


def largest_that_fits(
  fits: Callable[[int], bool], start: int, most: int = 2**20, exact: int = 8
) -> int:
  """The largest number that fits, by doubling and then halving the gap.

  Args:
    fits: Whether a number does; if one does, so do all that are smaller.
    start: Where to begin.
    most: Where to stop.
    exact: The gap is halved until it is at most an eighth (say) of what fits.

  Returns:
    A number that fits, with none that fits beyond it by more than that gap; 0 if not
    even 1 does.
  """
  low, high = 0, start
  while high <= most and fits(high):
    low, high = high, 2 * high
  while high - low > max(1, low // exact):
    middle = (low + high) // 2
    low, high = (middle, high) if fits(middle) else (low, middle)
  return low
