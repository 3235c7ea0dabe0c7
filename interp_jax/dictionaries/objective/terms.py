"""All terms by name, as plain data, and their sum."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from interp_jax.core import known, unknown
from interp_jax.dictionaries.objective.annealing import Lp
from interp_jax.dictionaries.objective.auxiliary import AuxK, GateReconstruction
from interp_jax.dictionaries.objective.end_to_end import EndToEnd
from interp_jax.dictionaries.objective.forward import Forward
from interp_jax.dictionaries.objective.reconstruction import (
  Matryoshka,
  MultiTopK,
  SquaredError,
)
from interp_jax.dictionaries.objective.sparsity import L0, L1, PreActivation, Tanh
from interp_jax.dictionaries.objective.term import Term

TERMS: Mapping[str, type[Term]] = {
  cls.name: cls
  for cls in (
    SquaredError,
    Matryoshka,
    MultiTopK,
    L1,
    Lp,
    Tanh,
    L0,
    PreActivation,
    AuxK,
    GateReconstruction,
    EndToEnd,
  )
}


def total_loss(
  forward: Forward, terms: Sequence[Term]
) -> tuple[Float[Array, ''], dict[str, Float[Array, '']]]:
  """The sum of all terms.

  Args:
    forward: One forward pass.
    terms: The terms.

  Returns:
    The sum, and each part by name.
  """
  parts = {term.name: term(forward) for term in terms}
  return sum(parts.values(), jnp.zeros(())), parts


def init_states(terms: Sequence[Term]) -> dict[str, Any]:
  """The states of the terms that have one, before the first step."""
  states = {term.name: term.init_state() for term in terms}
  return {name: state for name, state in states.items() if state is not None}


def observe(forward: Forward, terms: Sequence[Term]) -> dict[str, Any]:
  """What the states of the terms depend on."""
  return {t.name: t.observe(forward) for t in terms if t.name in forward.states}


def next_states(
  terms: Sequence[Term], states: Any, observed: Any, step: Any
) -> dict[str, Any]:
  """The states after a step; see `Term.next_state`."""
  return {
    t.name: t.next_state(states[t.name], observed[t.name], step)
    for t in terms
    if t.name in states
  }


def with_error(terms: Sequence[Term]) -> tuple[Term, ...]:
  """The terms, with the squared error where it is not among them."""
  if any(isinstance(term, SquaredError) for term in terms):
    return tuple(terms)
  return (SquaredError(), *terms)


def terms_from_dict(data: Mapping[str, Mapping[str, Any]]) -> tuple[Term, ...]:
  """Terms from plain data, e.g. `{'auxk': {'k': 96}, 'l1': {'coefficient': 2.0}}`.

  Args:
    data: The attributes of each term, by its name.

  Returns:
    The terms.

  Raises:
    ValueError: if there is no such term, or it has no such attribute.
  """
  terms = []
  for name, given in data.items():
    if name not in TERMS:
      raise ValueError(unknown('term of the objective', name, TERMS))
    values = known(TERMS[name], given, f'attribute of {name!r}')
    # JSON and configuration files have lists where the dataclasses have tuples.
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    terms.append(TERMS[name](**values))
  return tuple(terms)


def terms_to_dict(terms: Sequence[Term]) -> dict[str, dict[str, Any]]:
  """Terms as plain data, for JSON."""
  return {term.name: dataclasses.asdict(term) for term in terms}
