"""Codes of which nobody knows how many are active: as a list, where they are few.

For ReLU, JumpReLU and gated dictionaries nothing bounds how many features are active:
early in training half of them are, later some dozens. So the pre-activations come
first, and where something follows from them is counted:

    known = look(x, center, W_enc, b, live)     # one matrix product
    lax.cond(known.few, by_list, in_full)       # the rest of the step

Both ways go on from what is known and make no second product: `encode_known` gives the
pre-activations, all or listed, with their gradients.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from interp_jax.dictionaries.kernels import pairs as lists
from interp_jax.dictionaries.kernels.largest import count_bits, words_of
from interp_jax.dictionaries.kernels.pairs import Pairs


def encode_all(
  x: Float[Array, 'B D'],
  center: Float[Array, ' D'],
  W_enc: Float[Array, 'D F'],
  b: Float[Array, ' F'],
) -> Float[Array, 'B F']:
  """All pre-activations, `(x - center) W_enc + b`.

  Args:
    x: The inputs.
    center: What is subtracted from each.
    W_enc: The encoder.
    b: The bias of each feature.
  """
  # The gradient of the centre goes through one vector-matrix product, not through those
  # of all inputs.
  held = jax.lax.stop_gradient(center)
  return (x - held) @ W_enc + (b + (held - center) @ W_enc)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Known:
  """Pre-activations but for the bias, and where they matter.

  The bias is left to whoever reads them: added here it would take a pass over memory.

  Attributes:
    product: `(x - center) W_enc`, `[B, F]`.
    words: `[B, W]` uint32, a bit for each place that matters; None for all places.
    room: The most places that a list has space for.
  """

  product: Any
  words: Any
  room: int = dataclasses.field(metadata={'static': True})

  @property
  def few(self) -> Bool[Array, '']:
    """Whether all places that matter fit into a list."""
    return jnp.sum(count_bits(self.words)) <= self.room

  def all_places(self) -> 'Known':
    """The same with all places."""
    return dataclasses.replace(self, words=None)


def room_of(features: int) -> int:
  """Places a row, on average, up to which a list is used."""
  return max(features // 64, 1)


def look(
  x: Float[Array, 'B D'],
  center: Float[Array, ' D'],
  W_enc: Float[Array, 'D F'],
  b: Float[Array, ' F'],
  live: Callable[[Array], Array],
) -> Known:
  """The pre-activations, and where they matter.

  Args:
    x: The inputs.
    center: What is subtracted from each.
    W_enc: The encoder.
    b: The bias of each feature.
    live: Pre-activations → where a code, or the gradient of one, is not 0.
  """
  product = (x - center) @ W_enc
  room = room_of(product.shape[1]) * product.shape[0]
  return Known(product, words_of(live(product + b)), room)


def encode_known(
  x: Float[Array, 'B D'],
  center: Float[Array, ' D'],
  W_enc: Float[Array, 'D F'],
  b: Float[Array, ' F'],
  known: Known,
) -> Array | Pairs:
  """The pre-activations that are known, as a function of what they were made of.

  Args:
    x: The inputs.
    center: What was subtracted from each.
    W_enc: The encoder.
    b: The bias of each feature.
    known: Of these.

  Returns:
    All of them, `[B, F]`; or those that matter, where `known` says which, of which
    there must be at most `known.room`.
  """
  if known.words is None:
    return _all(x, center, W_enc, b, known.product)
  return _listed(x, center, W_enc, b, known)


@jax.custom_vjp
def _all(x: Array, center: Array, W_enc: Array, b: Array, product: Array) -> Array:
  del x, center, W_enc
  return product + b


def _all_fwd(x: Array, center: Array, W_enc: Array, b: Array, product: Array) -> tuple:
  return product + b, (x, center, W_enc)


def _all_bwd(saved: tuple, d_pre: Array) -> tuple:
  x, center, W_enc = saved
  d_b = jnp.sum(d_pre, 0)
  # The first is never computed where x is data: jit removes it.
  return d_pre @ W_enc.T, -(W_enc @ d_b), (x - center).T @ d_pre, d_b, None


_all.defvjp(_all_fwd, _all_bwd)


@jax.custom_vjp
def _listed(x: Array, center: Array, W_enc: Array, b: Array, known: Known) -> Pairs:
  del x, center, W_enc
  pairs = lists.pairs_at(known.product, known.words, known.room)
  return dataclasses.replace(pairs, values=pairs.values + b[pairs.features])


def _listed_fwd(x: Array, center: Array, W_enc: Array, b: Array, known: Known) -> tuple:
  pre = _listed(x, center, W_enc, b, known)
  return pre, (x, center, W_enc, pre)


def _listed_bwd(saved: tuple, cotangent: Pairs) -> tuple:
  x, center, W_enc, pre = saved
  d_pre = dataclasses.replace(pre, values=cotangent.values)
  return *lists.encoder_gradients(x, center, W_enc, d_pre), None


_listed.defvjp(_listed_fwd, _listed_bwd)
