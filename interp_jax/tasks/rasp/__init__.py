"""RASP programs, what they mean, and transformers that compute them.

A program is a graph of `Tokens`, `Indices`, `Constant`, `Map`, `SequenceMap`, `Select`,
`Aggregate` and `SelectorWidth`. `evaluate` says what it gives on an input,
`compile_program` makes weights that give the same on every input, and `true_edges` says
which edges of the model's graph are its circuit. `compiled` has programs ready as
tasks for the methods that find circuits.
"""

from interp_jax.tasks.rasp.compiler import CompiledProgram, compile_program
from interp_jax.tasks.rasp.edges import ABLATIONS, true_edges
from interp_jax.tasks.rasp.interpreter import Mixture, evaluate
from interp_jax.tasks.rasp.program import (
  Aggregate,
  Constant,
  Indices,
  Map,
  Select,
  SelectorWidth,
  Sequence,
  SequenceMap,
  Tokens,
)
from interp_jax.tasks.rasp.task import (
  CompiledTask,
  InputPairs,
  compiled,
  compiled_names,
)

__all__ = [
  'ABLATIONS',
  'Aggregate',
  'CompiledProgram',
  'CompiledTask',
  'Constant',
  'Indices',
  'InputPairs',
  'Map',
  'Mixture',
  'Select',
  'SelectorWidth',
  'Sequence',
  'SequenceMap',
  'Tokens',
  'compile_program',
  'compiled',
  'compiled_names',
  'evaluate',
  'true_edges',
]
