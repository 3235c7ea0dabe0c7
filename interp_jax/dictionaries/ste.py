"""Straight-through estimators: gradients for a threshold that a step function hides.

The derivative of a step at the threshold is taken to be a rectangle of width
`bandwidth` around it (Rajamanoharan et al. 2024, "Jumping Ahead", 2407.14435, equations
11 and 12):

    d jump(z, t) / dt = -(t / bandwidth) K((z - t) / bandwidth)
    d step(z, t) / dt = -(1 / bandwidth) K((z - t) / bandwidth),   K(u) = [|u| < 1/2]

DeepMind's JumpReLU gives that gradient to the threshold alone; Anthropic's (January
2025 update) also gives its negative to the pre-activation (`to_input`).
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Of all features of each example, or a list of some, each with its threshold.
Pre = Float[Array, 'B *C'] | Float[Array, ' N']
Threshold = Float[Array, '*C'] | Float[Array, ' N']


def rectangle(u: Array) -> Array:
  """1 where `|u| < 1/2`, else 0."""
  return (jnp.abs(u) < 0.5).astype(u.dtype)


def _over_examples(near: Array, threshold: Array) -> Array:
  """The sum over the examples that share a threshold; listed entries have their own."""
  return jnp.sum(near, tuple(range(near.ndim - threshold.ndim)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def jump(pre: Pre, threshold: Threshold, bandwidth: float, to_input: bool) -> Pre:
  """JumpReLU: `pre` where it is above the threshold, else 0.

  It is rectified, too, for thresholds below 0, which files of other libraries have. A
  rectifier behind it would stop the estimator's gradient wherever the code is 0, which
  is half of the window.
  """
  del bandwidth, to_input
  return jnp.where(pre > jnp.maximum(threshold, 0), pre, 0)


def _jump_fwd(pre, threshold, bandwidth, to_input):
  return jump(pre, threshold, bandwidth, to_input), (pre, threshold)


def _jump_bwd(bandwidth, to_input, saved, cotangent):
  pre, threshold = saved
  near = rectangle((pre - threshold) / bandwidth) * cotangent
  near = (threshold / bandwidth) * near
  d_pre = jnp.where(pre > jnp.maximum(threshold, 0), cotangent, 0)
  d_pre = d_pre + near if to_input else d_pre
  return d_pre, -_over_examples(near, threshold)


jump.defvjp(_jump_fwd, _jump_bwd)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def step(z: Pre, threshold: Threshold, bandwidth: float, to_input: bool) -> Pre:
  """1 where `z` is above the threshold, else 0: its sum over features is L0."""
  del bandwidth, to_input
  return (z > threshold).astype(z.dtype)


def _step_fwd(z, threshold, bandwidth, to_input):
  return step(z, threshold, bandwidth, to_input), (z, threshold)


def _step_bwd(bandwidth, to_input, saved, cotangent):
  z, threshold = saved
  near = rectangle((z - threshold) / bandwidth) * cotangent / bandwidth
  d_z = near if to_input else jnp.zeros_like(z)
  return d_z, -_over_examples(near, threshold)


step.defvjp(_step_fwd, _step_bwd)
