"""Objectives: what training minimises.

One of the three choices that make a dictionary, with `wiring` and `activation`. The
loss is a sum of terms, each a frozen dataclass with a coefficient, in the units of the
field's libraries: the squared error of an example is summed over the width, and
everything is a mean over examples.
"""

from interp_jax.dictionaries.objective.annealing import Lp
from interp_jax.dictionaries.objective.auxiliary import AuxK, GateReconstruction
from interp_jax.dictionaries.objective.end_to_end import EndToEnd, ModelSource
from interp_jax.dictionaries.objective.forward import Forward, run, spread, sum_squares
from interp_jax.dictionaries.objective.reconstruction import (
  Matryoshka,
  MultiTopK,
  SquaredError,
)
from interp_jax.dictionaries.objective.sparsity import L0, L1, PreActivation, Tanh
from interp_jax.dictionaries.objective.term import Term, ramp
from interp_jax.dictionaries.objective.terms import (
  TERMS,
  init_states,
  next_states,
  observe,
  terms_from_dict,
  terms_to_dict,
  total_loss,
  with_error,
)

__all__ = [
  'L0',
  'L1',
  'TERMS',
  'AuxK',
  'EndToEnd',
  'Forward',
  'GateReconstruction',
  'Lp',
  'Matryoshka',
  'ModelSource',
  'MultiTopK',
  'PreActivation',
  'SquaredError',
  'Tanh',
  'Term',
  'init_states',
  'next_states',
  'observe',
  'ramp',
  'run',
  'spread',
  'sum_squares',
  'terms_from_dict',
  'terms_to_dict',
  'total_loss',
  'with_error',
]
