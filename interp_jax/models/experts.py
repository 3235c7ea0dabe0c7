"""A mixture of experts: each token passes a few of many MLPs.

Shazeer et al. 2017, arXiv:1701.06538; Jiang et al. 2024 (Mixtral), arXiv:2401.04088. No
expert has a capacity, so a token's output does not depend on the other tokens.
"""

from typing import Any

import flax.linen as nn
import jax
from jax.custom_batching import custom_vmap
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from interp_jax.models import primitives
from interp_jax.models.config import TransformerConfig
from interp_jax.models.taps import Tap


class Experts(nn.Module):
  """The mixture in the place of a layer's MLP."""

  cfg: TransformerConfig

  @nn.compact
  def __call__(self, x: Float[Array, 'B T D'], tap: Tap) -> Float[Array, 'B T D']:
    """What a token's experts write, weighted by the router."""
    cfg = self.cfg
    choices, weights = self._route(x, tap)
    chosen = choices.reshape(-1)
    slots = (*choices.shape, -1)

    def read(kind: str) -> jax.Array:
      w = self._weights(kind, (cfg.width, cfg.mlp_width), cfg.width**-0.5)
      copies = jnp.repeat(x.reshape(-1, cfg.width), cfg.experts_per_token, 0)
      return expert_product(copies, w, chosen).reshape(slots)

    pre = tap('expert_pre', read('gate'))
    linear = tap('expert_pre_linear', read('in'))
    post = tap('expert_post', primitives.activation(cfg.act)(pre) * linear)
    std = primitives.writer_std(cfg.mlp_width, cfg)
    w = self._weights('out', (cfg.mlp_width, cfg.width), std)
    out = expert_product(post.reshape(-1, cfg.mlp_width), w, chosen)
    out = tap('expert_out', out.reshape(slots))
    return jnp.einsum('btcd,btc->btd', out, weights.astype(out.dtype))

  def _route(
    self, x: Float[Array, 'B T D'], tap: Tap
  ) -> tuple[Int[Array, 'B T C'], Float[Array, 'B T C']]:
    cfg = self.cfg
    shape = (cfg.width, cfg.experts)
    w = primitives.weight(self, 'W_router', shape, cfg.width**-0.5, cfg)
    logits = tap('router_logits', x @ w)
    scores = jax.nn.softmax(logits.astype(primitives.wide(logits.dtype)), -1)
    choices = jax.lax.top_k(scores, cfg.experts_per_token)[1]
    choices = tap('expert_choices', choices)
    weights = jnp.take_along_axis(scores, choices, -1)
    if cfg.renormalize_experts:
      weights = weights / weights.sum(-1, keepdims=True)
    return choices, tap('expert_weights', weights)

  def _weights(self, kind: str, shape: tuple[int, int], std: float) -> jax.Array:
    return primitives.weight(
      self, f'W_{kind}', (self.cfg.experts, *shape), std, self.cfg
    )


@jax.custom_vjp
def expert_product(
  x: Float[Array, 'N X'], w: Float[Array, 'E X Y'], choice: Int[Array, ' N']
) -> Float[Array, 'N Y']:
  """`x[n] @ w[choice[n]]` for every row, without a copy of the weights for each.

  Rows are sorted by expert and multiplied group by group (`jax.lax.ragged_dot`). Under
  `vmap` with shared weights the worlds' rows are sorted together: one product for the
  whole sweep, where `ragged_dot` by itself cannot be mapped.

  Args:
    x: Rows.
    w: One matrix per expert.
    choice: The expert of each row.

  Returns:
    The products.
  """
  return _product(x, w, choice)


def _forward(x: jax.Array, w: jax.Array, choice: jax.Array) -> tuple[jax.Array, Any]:
  return _product(x, w, choice), (x, w, choice)


def _backward(kept: Any, grad: jax.Array) -> tuple[jax.Array, jax.Array, None]:
  x, w, choice = kept
  of_x = _product(grad, w.swapaxes(1, 2), choice)
  return of_x, _weight_gradient(x, w, choice, grad), None


expert_product.defvjp(_forward, _backward)


def _grouped(x: jax.Array, w: jax.Array, choice: jax.Array) -> jax.Array:
  order = jnp.argsort(choice)
  sizes = jnp.bincount(choice, length=len(w)).astype(jnp.int32)
  out = jax.lax.ragged_dot(x[order], w, sizes)
  return jnp.zeros_like(out).at[order].set(out)


_product = custom_vmap(_grouped)


@custom_vmap
def _weight_gradient(
  x: jax.Array, w: jax.Array, choice: jax.Array, grad: jax.Array
) -> jax.Array:
  return jax.vjp(lambda w: _grouped(x, w, choice), w)[1](grad)[0]


def _worlds(size: int, batched: list[bool], args: Any) -> tuple[jax.Array, ...]:
  """Every argument with the mapped axis in front."""
  return tuple(
    arg if has else jnp.broadcast_to(arg, (size, *arg.shape))
    for arg, has in zip(args, batched, strict=True)
  )


@_product.def_vmap
def _(size: int, batched: list[bool], *args: jax.Array) -> tuple[jax.Array, bool]:
  worlds = _worlds(size, batched, args)
  if batched[1]:  # Every world has weights of its own.
    return jax.lax.map(lambda one: _product(*one), worlds), True
  x, _, choice = worlds
  out = _product(x.reshape(-1, x.shape[-1]), args[1], choice.reshape(-1))
  return out.reshape(*x.shape[:-1], -1), True


@_weight_gradient.def_vmap
def _(size: int, batched: list[bool], *args: jax.Array) -> tuple[jax.Array, bool]:
  worlds = _worlds(size, batched, args)
  return jax.lax.map(lambda one: _weight_gradient(*one), worlds), True
