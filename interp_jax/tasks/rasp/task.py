"""Compiled programs as tasks: a model, inputs, a metric and the true circuit."""

from collections.abc import Callable
import dataclasses
import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int
import numpy as np

from interp_jax.core import unknown
from interp_jax.models import Transformer
from interp_jax.tasks.rasp.compiler import CompiledProgram, compile_program
from interp_jax.tasks.rasp.edges import true_edges
from interp_jax.tasks.rasp.library import RECIPES
from interp_jax.tasks.rasp.program import Value

# So many inputs are run through the interpreter to know the true edges.
MOST_INPUTS = 4096


class InputPairs(NamedTuple):
  """Clean and corrupted inputs: independent draws of one length.

  Attributes:
    clean: Token ids.
    corrupted: Token ids.
  """

  clean: Int[np.ndarray, 'B T']
  corrupted: Int[np.ndarray, 'B T']


@dataclasses.dataclass(frozen=True, eq=False)
class CompiledTask:
  """A compiled program with inputs of one length.

  Attributes:
    name: Its name.
    description: What it computes.
    compiled: The program, the model, its parameters and its tokens.
    length: Tokens of an input, BOS not counted.
  """

  name: str
  description: str
  compiled: CompiledProgram
  length: int

  @property
  def model(self) -> Transformer:
    """The transformer."""
    return self.compiled.model

  @property
  def params(self) -> dict[str, Any]:
    """Its parameters."""
    return self.compiled.params

  def inputs(self, most: int = MOST_INPUTS, seed: int = 0) -> list[tuple[Value, ...]]:
    """All inputs, or as many random ones if there are more than `most`."""
    vocabulary = self.compiled.vocabulary
    if len(vocabulary) ** self.length <= most:
      return list(itertools.product(vocabulary, repeat=self.length))
    drawn = np.random.default_rng(seed).integers(
      len(vocabulary), size=(most, self.length)
    )
    return [tuple(vocabulary[i] for i in row) for row in drawn]

  def sample(self, count: int, seed: int = 0) -> Int[np.ndarray, 'B T']:
    """Token ids of random inputs, every token equally likely at every position."""
    size = (count, self.length)
    ids = np.random.default_rng(seed).integers(len(self.compiled.vocabulary), size=size)
    bos = np.full((count, 1), self.compiled.bos_id)
    return np.concatenate([bos, ids], 1).astype(np.int32)

  def pairs(self, count: int, seed: int = 0) -> InputPairs:
    """Random inputs, and as many others to corrupt them with."""
    both = self.sample(2 * count, seed)
    return InputPairs(both[:count], both[count:])

  def metric(
    self, clean: Int[np.ndarray, 'B T'], per_example: bool = False
  ) -> Callable[..., Array]:
    """How far an output is from that of the clean run: 0 for the same.

    KL(clean || run) in nats for a categorical program, the squared difference for a
    numerical one; the mean over positions but BOS.

    Args:
      clean: Token ids of the clean run.
      per_example: Whether to return one number per example `[B]` instead of the mean.

    Returns:
      A metric `(logits, acts) -> number`, for the functions of `circuits`.
    """
    logits = _run(self.model, self.params, jnp.asarray(clean))
    distance = _divergence if self.compiled.outputs else _squared_error
    metric = Partial(_per_example, Partial(distance, logits[:, 1:]))
    return metric if per_example else Partial(_mean, metric)

  def true_edges(self, ablation: str) -> frozenset[str]:
    """The edges that matter, see `rasp.true_edges`.

    Args:
      ablation: 'zero', 'resample' or 'mean' (for each position by itself).

    Returns:
      Names `sender->receiver`, for example 'input->a0.h0<q>'.

    Raises:
      ValueError: if the ablation is unknown.
    """
    return true_edges(self.compiled, ablation, self.inputs())


def compiled_names() -> tuple[str, ...]:
  """The names of the compiled tasks."""
  return tuple(RECIPES)


def compiled(name: str, length: int | None = None, **options: Any) -> CompiledTask:
  """A compiled task by name.

  Args:
    name: One of `compiled_names()`.
    length: Tokens of an input; None for the library's.
    **options: For `compile_program`: `causal`, `sharpness`, `confidence`.

  Returns:
    The task.

  Raises:
    ValueError: if there is no task of that name.
  """
  if name not in RECIPES:
    raise ValueError(unknown('compiled task', name, RECIPES))
  recipe = RECIPES[name]
  program = compile_program(
    recipe.make(),
    recipe.vocabulary,
    length or recipe.length,
    **({'causal': recipe.causal} | options),
  )
  return CompiledTask(name, recipe.description, program, length or recipe.length)


def _divergence(
  clean: Float[Array, 'B T V'], logits: Float[Array, 'B T V']
) -> Float[Array, ' B']:
  ours, theirs = jax.nn.log_softmax(logits), jax.nn.log_softmax(clean)
  return (jnp.exp(theirs) * (theirs - ours)).sum(-1).mean(-1)


def _squared_error(
  clean: Float[Array, 'B T V'], logits: Float[Array, 'B T V']
) -> Float[Array, ' B']:
  return jnp.square(logits[..., 0] - clean[..., 0]).mean(-1)


def _per_example(distance, logits, acts):
  del acts
  return distance(logits[:, 1:])


def _mean(metric, logits, acts):
  return metric(logits, acts).mean()


@functools.partial(jax.jit, static_argnums=0)
def _run(model, params, tokens):
  return model.apply({'params': params}, tokens)[0]
