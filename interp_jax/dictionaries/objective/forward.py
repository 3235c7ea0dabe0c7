"""One forward pass of a dictionary, and all that it knows."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from interp_jax.dictionaries import codes as codes_lib
from interp_jax.dictionaries.activation import Plan
from interp_jax.dictionaries.codes import Codes
from interp_jax.dictionaries.config import DictionaryConfig


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Forward:
  """What one forward pass knows, for the terms of the objective.

  Attributes:
    config: The dictionary's.
    params: Its parameters.
    inputs: `[B, *in]`.
    targets: `[B, *out]`, what the output should be.
    encoded: Codes, pre-activations and gate.
    outputs: `[B, *out]`.
    idle: `[*C]` int32, examples since each feature was last active.
    step: int32 scalar, the number of updates made.
    key: A PRNG key of this step.
    states: Term → its state.
    scale: The factors of inputs and targets, or None.
    context: What comes with a batch beside inputs and targets, or None.
    plan: How it is computed.
  """

  config: DictionaryConfig = dataclasses.field(metadata={'static': True})
  params: Any
  inputs: Any
  targets: Any
  encoded: Any
  outputs: Any
  idle: Any
  step: Any
  key: Any = None
  states: Any = dataclasses.field(default_factory=dict)
  scale: Any = None
  context: Any = None
  plan: Plan = dataclasses.field(default=Plan(), metadata={'static': True})

  @property
  def codes(self) -> Codes:
    """The codes."""
    return self.encoded.codes

  @property
  def error(self) -> Float[Array, 'B *out']:
    """Targets less outputs."""
    return self.targets - self.outputs

  @property
  def penalized(self) -> Codes:
    """What sparsity is asked of: the codes, or the gate of gated activations."""
    return self.codes if self.encoded.gate is None else self.encoded.gate

  @property
  def batch(self) -> int:
    """The number of examples."""
    return self.inputs.shape[0]

  def per_example(self, values: Array) -> Float[Array, ' B']:
    """The sum over an example of numbers laid out as the values of `penalized`."""
    return codes_lib.per_example(self.penalized, values, self.batch)

  @property
  def sizes(self) -> Array:
    """Magnitudes of `penalized`.

    Codes that are never negative stay as they are: to autodiff the derivative of |z| is
    0 at 0, which would stop the gradients that straight-through estimators have there.
    """
    values = codes_lib.values_of(self.penalized)
    return jnp.abs(values) if self.config.activation.signed else values

  def weighted(self, by_norm: bool) -> Array:
    """`sizes`, times the norms of the decoder's rows or not."""
    if not by_norm:
      return self.sizes
    norms = self.config.wiring.norms(self.params)
    return self.sizes * codes_lib.per_feature(self.penalized, norms)


def run(
  config: DictionaryConfig,
  params: Any,
  inputs: Float[Array, 'B *in'],
  idle: Any,
  step: Any,
  *,
  targets: Float[Array, 'B *out'] | None = None,
  plan: Plan = Plan(),  # noqa: B008, it is frozen
  **known: Any,
) -> Forward:
  """One forward pass.

  Args:
    config: The dictionary's.
    params: Its parameters.
    inputs: A batch.
    idle: `[*C]`, examples since each feature was last active.
    step: The number of updates made.
    targets: What the output should be; None for the inputs.
    plan: How to compute.
    **known: Further fields of `Forward`.

  Returns:
    All that the terms need.
  """
  wiring = config.wiring
  encoded = config.activation.encode(wiring, params, inputs, plan)
  batch = inputs.shape[0]
  outputs = wiring.decode(params, encoded.codes, batch, plan)
  outputs = outputs + wiring.skip(params, inputs)
  targets = inputs if targets is None else targets
  # Codes are made; static from here on.
  plan = dataclasses.replace(plan, limit=None, known=None)
  return Forward(
    config, params, inputs, targets, encoded, outputs, idle, step, plan=plan, **known
  )


def sum_squares(x: Float[Array, 'B *out']) -> Float[Array, '']:
  """`mean_b sum x_b^2`: the sum over all that an example has, the mean over them."""
  return jnp.sum(jnp.square(x)) / x.shape[0]


def spread(x: Float[Array, 'B *out']) -> Float[Array, '']:
  """`mean_b sum (x_b - mean(x))^2` over this batch."""
  return sum_squares(x - jnp.mean(x, 0))
