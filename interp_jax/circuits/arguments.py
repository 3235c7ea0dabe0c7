"""What is given by callers, as a compiled function takes it."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial


def as_pytree(function: Callable[..., Any]) -> Callable[..., Any]:
  """A metric, or another function, as a pytree; one that is none has no leaves."""
  is_pytree = jax.tree.structure(function) != jax.tree.structure(0)
  return function if is_pytree else Partial(function)


def as_arrays(kwargs: Mapping[str, Any]) -> dict[str, Any]:
  """Arguments of the model: lists are arrays there, and None is left out."""
  return {
    name: value if isinstance(value, Mapping) else jnp.asarray(value)
    for name, value in kwargs.items()
    if value is not None
  }
