"""Auxiliary reconstructions: of what is left over, by dead features; by the gate."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from interp_jax.core import unknown
from interp_jax.dictionaries.activation import Gated, Plan
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.objective.forward import Forward, spread, sum_squares
from interp_jax.dictionaries.objective.term import Scalar, Term

DIVISORS = ('none', 'residual', 'variance')
GRADIENTS = ('features', 'all', 'decoder')


@dataclasses.dataclass(frozen=True)
class AuxK(Term):
  """Lets dead features model what the others left over (Gao et al. 2024, app. A.2).

      coefficient * mean_b ||e - e_hat||^2,    e = target - output, held constant

  with e_hat the decoding of the k largest pre-activations of dead features. It is
  skipped while none is dead.

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
    over: `'none'`; `'residual'` divides the term by the variance of e in the batch
      (OpenAI's code), `'variance'` by that of the targets.
    by_dead: Whether to multiply it by `min(number dead / k, 1)`.
    rectify: Whether pre-activations are rectified.
    gradients: What learns from it: `'features'`, all parameters of the dead features;
      `'all'`, these and `b_dec` where the encoder subtracts it; `'decoder'`, `W_dec`
      alone.
  """

  k: int | None = None
  coefficient: Scalar = 1 / 32
  dead_after: int = 100_000
  pool: int | None = None
  over: str = 'none'
  by_dead: bool = False
  rectify: bool = True
  gradients: str = 'features'
  name: ClassVar[str] = 'auxk'

  def check(self, config: DictionaryConfig) -> None:
    for kind, given, allowed in (
      ('divisor of auxk', self.over, DIVISORS),
      ('gradients of auxk', self.gradients, GRADIENTS),
    ):
      if given not in allowed:
        raise ValueError(unknown(kind, given, allowed))
    if isinstance(config.activation, Gated):
      raise ValueError(
        'The term auxk is for features whose pre-activation says whether they are '
        'active; gated ones have two. Use the terms gate and l1.'
      )

  def __call__(self, forward: Forward) -> Float[Array, '']:
    dead = forward.idle > self.dead_after
    zero = jnp.zeros((), forward.error.dtype)
    return jax.lax.cond(jnp.any(dead), self._loss, lambda _: zero, forward)

  def _loss(self, forward: Forward) -> Float[Array, '']:
    config = forward.config
    k = min(self.k or max(config.width // 2, 1), config.features)
    pool = min(self.pool or k, config.features)
    idle, chosen = jax.lax.top_k(_everywhere(forward.idle, forward.plan), pool)
    idle, chosen = _everywhere((idle, chosen), forward.plan)
    codes = self._codes(forward, chosen, idle > self.dead_after, k)
    left = jax.lax.stop_gradient(forward.error)
    e_hat = config.wiring.linear_some(forward.params, codes, chosen)
    value = sum_squares(left - e_hat)
    if self.over != 'none':
      value = value / spread(left if self.over == 'residual' else forward.targets)
    if self.by_dead:
      value = value * jnp.minimum(jnp.sum(forward.idle > self.dead_after) / k, 1.0)
    return self.coefficient * value

  def _codes(self, forward: Forward, chosen: Array, dead: Array, k: int) -> Array:
    """The codes of the pool: those of the k largest pre-activations that are dead."""
    config, params = forward.config, forward.params
    if self.gradients == 'features':
      params = params | {'b_dec': jax.lax.stop_gradient(params['b_dec'])}
    pre = config.wiring.project_some(params, forward.inputs, chosen)
    pre = pre + jnp.take_along_axis(params['b_enc'], chosen, -1)
    if self.gradients == 'decoder':
      pre = jax.lax.stop_gradient(pre)
    signed = config.activation.signed
    pre = jax.nn.relu(pre) if self.rectify and not signed else pre
    if k < chosen.shape[-1]:
      compared = jnp.abs(pre) if signed else pre
      if getattr(config.activation, 'by_norm', False):
        norms = jax.lax.stop_gradient(config.wiring.norms(params))
        compared = compared * jnp.take_along_axis(norms, chosen, -1)
      compared = jnp.where(dead, compared, -jnp.inf)
      _, kept = jax.lax.top_k(compared, k)
      inside = jnp.zeros(compared.shape, bool)
      inside = jnp.put_along_axis(inside, kept, True, axis=-1, inplace=False)
      dead = dead & inside
    return jnp.where(dead, pre, 0)


def _everywhere(tree: Any, plan: Plan) -> Any:
  """The tree whole on every device of the plan's mesh.

  Left to itself, the compiler splits the features of the pool over the devices, and
  sends the parts of their weights to and fro.
  """
  if plan.mesh is None:
    return tree
  return jax.lax.with_sharding_constraint(tree, NamedSharding(plan.mesh, P()))


@dataclasses.dataclass(frozen=True)
class GateReconstruction(Term):
  """`coefficient * mean_b ||target - output of the rectified gate||^2`.

  It is how gates learn: the step from gate to codes has no gradient (Rajamanoharan et
  al. 2024, 2404.16014, equation 8).

  Attributes:
    coefficient: Weight.
    frozen: Whether the decoder is held constant, as in the paper (SAELens does not).
  """

  coefficient: Scalar = 1.0
  frozen: bool = True
  name: ClassVar[str] = 'gate'

  def check(self, config: DictionaryConfig) -> None:
    if not isinstance(config.activation, Gated):
      raise ValueError(
        f'The term gate is of the activation gated, not {config.activation.name!r}. '
        'Leave it out.'
      )

  def __call__(self, forward: Forward) -> Float[Array, '']:
    params, wiring = forward.params, forward.config.wiring
    params = jax.lax.stop_gradient(params) if self.frozen else params
    output = wiring.decode(params, forward.encoded.gate, forward.batch, forward.plan)
    output = output + wiring.skip(params, forward.inputs)
    return self.coefficient * sum_squares(forward.targets - output)
