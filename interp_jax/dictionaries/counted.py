"""Steps that look how many features are active before they decide how to go on.

Nothing bounds how many features a ReLU, JumpReLU or gated dictionary activates. So the
pre-activations are computed first, and the places counted where something follows from
them. If these are few, the rest of the step works on a list of them, as BatchTopK's
does; if not, on arrays of all features. What comes out is the same but for rounding.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jaxtyping import Array

from interp_jax.dictionaries import objective
from interp_jax.dictionaries.activation import Plan
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.kernels import Known


def counts_first(
  config: DictionaryConfig, terms: Sequence[objective.Term], plan: Plan
) -> bool:
  """Whether a step looks how many features are active before it decides how to go on.

  Args:
    config: The dictionary's.
    terms: Of the objective.
    plan: How to compute.
  """
  one_layer = len(config.code_shape) == 1
  by_lists = config.activation.counted and not any(term.of_all for term in terms)
  return plan.sparse and one_layer and by_lists


def look_at(config: DictionaryConfig, params: Any, inputs: Array) -> Known:
  """The pre-activations of a batch, and where they matter."""
  wiring: Any = config.wiring  # One with one code, as `counts_first` saw to.
  activation = config.activation
  live = lambda pre: activation.live(params, pre)
  return wiring.look(params, inputs, activation.bias(params), live)


def cond_gradient(
  look: Callable[[Any], Known], loss: Callable[[Any, Known], tuple[Any, Any]]
) -> Callable[[Any], tuple[Any, Any]]:
  """A loss that is computed by lists where places are few, and in full where not.

  The decision is taken once, for the loss and its gradient. Autodiff of a `lax.cond`
  would take it twice, and hand everything that either way saves from the one to the
  other.

  Args:
    look: Parameters → what is known of their pre-activations.
    loss: Parameters and what is known → `(loss, auxiliary)`.

  Returns:
    Parameters → `(loss, auxiliary)`, to be differentiated once.
  """

  def forward(params: Any) -> tuple[Any, Any]:
    known = look(params)
    whole = known.all_places()
    gradient = jax.value_and_grad(loss, has_aux=True)
    return jax.lax.cond(
      known.few,
      lambda: gradient(params, known),
      lambda: gradient(params, whole),
    )

  def backward(gradient: Any, cotangent: tuple[Any, Any]) -> tuple[Any]:
    return (jax.tree.map(lambda leaf: leaf * cotangent[0], gradient),)

  decided = jax.custom_vjp(lambda params: forward(params)[0])
  decided.defvjp(forward, backward)
  return decided
