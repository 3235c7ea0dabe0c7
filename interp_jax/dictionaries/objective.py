"""Objectives: what training minimises.

One of the three choices that make a dictionary, with `wiring` and `activation`. The
loss is the mean squared error plus any number of terms. A term is a frozen dataclass
that is called with what one forward pass knows (`Forward`) and returns a scalar that
averages over the batch, so the split of a batch over devices changes nothing.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from interp_jax.core import unknown
from interp_jax.dictionaries import kernels
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.wiring import Params, SparseCodes


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Forward:
  """What one forward pass knows, for the terms of the objective.

  Attributes:
    config: The dictionary's.
    params: Its parameters.
    inputs: `[B, D]`.
    targets: `[B, D]`, what the output should be.
    codes: Dense `[B, F]` or `SparseCodes`.
    outputs: `[B, D]`.
    idle: `[F]` int32, examples since each feature was last active.
    step: int32 scalar.
  """

  config: DictionaryConfig = dataclasses.field(metadata={'static': True})
  params: Any
  inputs: Any
  targets: Any
  codes: Any
  outputs: Any
  idle: Any
  step: Any


def run(
  config: DictionaryConfig,
  params: Params,
  inputs: Float[Array, 'B D'],
  idle: Any,
  step: Any,
  impl: str = 'auto',
) -> Forward:
  """One forward pass.

  Args:
    config: The dictionary's.
    params: Its parameters.
    inputs: A batch.
    idle: `[F]`, examples since each feature was last active.
    step: The number of updates made.
    impl: Which kernels to use, as in `kernels.resolve`.

  Returns:
    All that the terms need.
  """
  wires = config.wires
  codes = wires.encode(params, inputs, config.activation, impl)
  outputs = wires.decode(params, codes, impl)
  targets = wires.targets(inputs)
  return Forward(config, params, inputs, targets, codes, outputs, idle, step)


def mean_squared_error(forward: Forward) -> Float[Array, '']:
  """`mean_b ||target - output||^2 / D`: FVU, where inputs are normalised to `D`."""
  error = forward.targets - forward.outputs
  return jnp.mean(jnp.square(error))


@dataclasses.dataclass(frozen=True)
class AuxK:
  """Lets dead features model what the others left over (Gao et al. 2024, app. A.2).

      coefficient * mean_b ||e - e_hat||^2 / D,    e = target - output, held constant

  with e_hat the decoding of the k largest pre-activations of dead features. Only dead
  features get its gradient. It is skipped while none is dead.

  Of the dead, the `pool` idle for longest take part. By default that is k, and all of
  them are used: where no more than k are dead, as should be, it is the paper's loss
  exactly; where more are, they take turns, and no second top-k over examples is needed
  (it costs more than the rest of the step). With a pool larger than k, each example
  chooses its k of the pool.

  Attributes:
    k: How many dead features an example uses; None for D / 2, as in the paper.
    coefficient: Weight; 1/32 in the paper.
    dead_after: Examples without activity after which a feature is dead. The paper has
      10 million; it must be a small part of the run.
    pool: How many dead features to consider; None for k.
  """

  k: int | None = None
  coefficient: float = 1 / 32
  dead_after: int = 100_000
  pool: int | None = None
  name: ClassVar[str] = 'auxk'

  def __call__(self, forward: Forward) -> Float[Array, '']:
    """The weighted term."""
    dead = forward.idle > self.dead_after
    zero = jnp.zeros((), forward.outputs.dtype)
    return jax.lax.cond(jnp.any(dead), self._loss, lambda _: zero, forward)

  def _loss(self, forward: Forward) -> Float[Array, '']:
    config, params = forward.config, forward.params
    k = min(self.k or max(config.width // 2, 1), config.features)
    pool = min(self.pool or k, config.features)
    idle, chosen = jax.lax.top_k(forward.idle, pool)
    held = params | {'b_dec': jax.lax.stop_gradient(params['b_dec'])}
    pre = config.wires.pre_activations_of(held, forward.inputs, chosen)
    codes = jax.nn.relu(pre) * (idle > self.dead_after)
    if k < pool:
      values, indices = jax.lax.top_k(codes, k)
      codes = kernels.scatter_dense(values, indices, pool)
    left = jax.lax.stop_gradient(forward.targets - forward.outputs)
    error = left - codes @ params['W_dec'][chosen]
    return self.coefficient * jnp.mean(jnp.square(error))


@dataclasses.dataclass(frozen=True)
class L1:
  """`coefficient * mean_b sum_f codes_f ||W_dec,f|| / D`.

  Weighted by the decoder's norms (Templeton et al. 2024), so that it can also be used
  without the unit-norm constraint. Divided by D like the squared error.

  Attributes:
    coefficient: Weight.
    warmup: Steps over which the weight rises from 0.
  """

  coefficient: float = 1.0
  warmup: int = 0
  name: ClassVar[str] = 'l1'

  def __call__(self, forward: Forward) -> Float[Array, '']:
    """The weighted term."""
    norms = jnp.linalg.norm(forward.params['W_dec'], axis=-1)
    if isinstance(forward.codes, SparseCodes):
      weighted = forward.codes.values * norms[forward.codes.indices]
    else:
      weighted = forward.codes * norms
    risen = jnp.minimum(1.0, (forward.step + 1) / max(self.warmup, 1))
    total = jnp.mean(jnp.sum(weighted, -1)) / forward.config.width
    return self.coefficient * risen * total


Term = AuxK | L1
TERMS: Mapping[str, type] = {cls.name: cls for cls in (AuxK, L1)}


def loss(
  forward: Forward, terms: Sequence[Term]
) -> tuple[Float[Array, ''], dict[str, Float[Array, '']]]:
  """The mean squared error plus all terms.

  Args:
    forward: One forward pass.
    terms: The terms to add.

  Returns:
    The sum, and each part by name (`mse` and the names of the terms).
  """
  parts = {'mse': mean_squared_error(forward)}
  parts |= {term.name: term(forward) for term in terms}
  return sum(parts.values(), jnp.zeros(())), parts


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
    fields = [field.name for field in dataclasses.fields(TERMS[name])]
    for key in given:
      if key not in fields:
        raise ValueError(unknown(f'attribute of {name!r}', key, fields))
    terms.append(TERMS[name](**given))
  return tuple(terms)


def terms_to_dict(terms: Sequence[Term]) -> dict[str, dict[str, Any]]:
  """Terms as plain data, for JSON."""
  return {term.name: dataclasses.asdict(term) for term in terms}
