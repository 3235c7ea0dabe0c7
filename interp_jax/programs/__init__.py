"""The library's jitted programs with abstract inputs: to compile them ahead of time.

Each function gives a `Program` for a mesh whose devices need not be there, such as
those of a TPU topology: the same function that a trainer, a harvest or a sweep runs,
lowered from shapes. Nothing of its size is ever allocated.

    topology = make_topology('v5e:16x16')
    mesh = make_mesh(model=16, devices=topology.devices)
    program = dictionary_step(config, trainer, mesh)
    analysis = analyse(program.lower().compile(), topology, mesh)
"""

from interp_jax.programs.compiling import (
  DoesNotFitError,
  compile_program,
  compile_record,
)
from interp_jax.programs.dictionary import dictionary_step
from interp_jax.programs.model import (
  harvest_forward,
  language_model_step,
  patching_sweep,
)
from interp_jax.programs.program import Allowed, Program
from interp_jax.programs.read import read_program

__all__ = [
  'Allowed',
  'DoesNotFitError',
  'Program',
  'compile_program',
  'compile_record',
  'dictionary_step',
  'harvest_forward',
  'language_model_step',
  'patching_sweep',
  'read_program',
]
