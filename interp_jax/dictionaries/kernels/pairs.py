"""Lists of active codes: which row, which feature, what value.

Where the number of active features varies from row to row (BatchTopK, ReLU), a fixed
number a row would waste most of it. A list of all active codes of a batch, row by row,
has a fixed length where their sum is fixed or bounded.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt

from interp_jax.dictionaries.kernels import rows as linear
from interp_jax.dictionaries.kernels.largest import (
  LOWEST,
  WORD,
  count_bits,
  first_above,
  first_largest,
  group_maxima,
  nth_bit,
  ordered,
  words_of,
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pairs:
  """Active codes of a batch, in the order of their rows, then of their features.

  Attributes:
    values: `[N]`; 0 where there are fewer than N.
    rows: `[N]` int32, which example.
    features: `[N]` int32, which feature.
    count: How many there are, where that may be fewer than N: the rest is last, in rows
      and in features. None for N.
  """

  values: Any
  rows: Any
  features: Any
  count: Any = None


def places(
  words: UInt[Array, 'B W'], room: int, features: int
) -> tuple[Int[Array, ' N'], Int[Array, ' N'], Int[Array, '']]:
  """Where the first `room` set bits are.

  Returns:
    Row and feature, and how many there are; the last row and feature behind these.
  """
  counts = count_bits(words)
  in_row = jnp.cumsum(counts, 1)
  ends = jnp.cumsum(in_row[:, -1])
  sums = (in_row + (ends - in_row[:, -1])[:, None]).reshape(1, -1)
  nth = jnp.arange(room, dtype=jnp.int32)
  word = first_above(sums, nth[None])[0]
  rank = nth - (sums[0, word] - counts.reshape(-1)[word])
  bit = nth_bit(words.reshape(-1)[word], rank)
  exists = nth < ends[-1]
  row, column = jnp.divmod(word, words.shape[1])
  feature = column * WORD + bit
  last = (words.shape[0] - 1, features - 1)
  row, feature = jnp.where(exists, row, last[0]), jnp.where(exists, feature, last[1])
  return row, feature, jnp.minimum(ends[-1], room)


def pairs_at(pre: Float[Array, 'B F'], words: UInt[Array, 'B W'], room: int) -> Pairs:
  """The entries where bits are set, of which there must be at most `room`.

  Behind them values are so low that no activation makes anything of them, but finite,
  because a derivative of 0 times an infinity is not 0.
  """
  row, feature, count = places(words, room, pre.shape[1])
  nothing = -jnp.sqrt(jnp.finfo(pre.dtype).max)
  values = jnp.where(jnp.arange(room) < count, pre[row, feature], nothing)
  return Pairs(values.astype(pre.dtype), row, feature, count)


def kth_of_all(keys: Int[Array, '*shape'], k: int | Array, axes: Any = ()) -> Array:
  """The k-th largest of all; `axes` are those of a mesh over which keys are split."""

  def add_bit(i: Array, t: Array) -> Array:
    trial = t ^ (jnp.int32(1) << (31 - i))
    count = jnp.sum(keys >= trial, dtype=jnp.int32)
    if axes:
      count = jax.lax.psum(count, axes)
    return jnp.where(count >= k, trial, t)

  return jax.lax.fori_loop(0, 32, add_bit, jnp.int32(LOWEST))


def select_pairs(pre: Float[Array, 'B F'], count: int) -> Pairs:
  """The `count` largest of a whole batch; of equal ones the first rows and features.

  As `select_by_index` goes about one row: candidates by the maxima of groups, then the
  exact threshold among them.

  Raises:
    ValueError: if the batch has 2^31 entries or more, or fewer than `count`.
  """
  batch, features = pre.shape
  if not 1 <= count <= batch * features < 2**31:
    raise ValueError(
      f'The {count} largest of {batch} x {features} pre-activations: give between 1 '
      'and all of them, and fewer than 2^31 pre-activations. Use smaller batches.'
    )
  if pre.dtype == jnp.float64:
    _, index = jax.lax.top_k(pre.reshape(-1), count)
    row, feature = jnp.divmod(jnp.sort(index), features)
    return Pairs(pre[row, feature], row, feature)
  room = min(2 * count, batch * features)
  maxima = group_maxima(pre, -(-4 * count // batch))
  threshold = kth_of_all(ordered(maxima), count)
  words = words_of(ordered(pre) >= threshold)
  found = jnp.sum(count_bits(words))
  few = (found >= count) & (found <= room)
  return jax.lax.cond(
    few,
    lambda: _trim(pre, count, words, room),
    lambda: _listed(pre, words_of(batch_topk_mask(pre, count)), count),
  )


def _trim(pre: Array, count: int, words: Array, room: int) -> Pairs:
  row, feature, found = places(words, room, pre.shape[1])
  exists = jnp.arange(room) < found
  keys = jnp.where(exists, ordered(pre[row, feature]), LOWEST)[None]
  kth = kth_of_all(keys, count)
  kept = first_largest(keys, kth[None, None], count)
  sums = jnp.cumsum(kept, 1, dtype=jnp.int32)
  chosen = first_above(sums, jnp.arange(count, dtype=jnp.int32)[None])[0]
  row, feature = row[chosen], feature[chosen]
  return Pairs(pre[row, feature], row, feature)


def _listed(pre: Array, words: Array, count: int) -> Pairs:
  row, feature, _ = places(words, count, pre.shape[1])
  return Pairs(pre[row, feature], row, feature)


def batch_topk_mask(
  pre: Float[Array, 'B F'],
  count: Any,
  data: str | None = None,
  model: str | None = None,
) -> Bool[Array, 'B F']:
  """Which are the `count` largest of a whole batch; of equal ones the first.

  Within a `shard_map`, `data` and `model` name the mesh axes over which rows and
  features are split: the threshold is then found by counting on all devices, 32 sums
  of one integer, and no pre-activation leaves its device.
  """
  axes = tuple(axis for axis in (data, model) if axis is not None)
  keys = ordered(pre)
  kth = kth_of_all(keys, count, axes)
  above, equal = keys > kth, keys == kth
  total = jnp.sum(above, dtype=jnp.int32)
  room = count - (jax.lax.psum(total, axes) if axes else total)
  here = jnp.sum(equal, 1, dtype=jnp.int32)
  before, row = jnp.zeros_like(here), here
  if model is not None:
    shards = jax.lax.all_gather(here, model)
    earlier = jnp.arange(shards.shape[0]) < jax.lax.axis_index(model)
    before = jnp.sum(jnp.where(earlier[:, None], shards, 0), 0)
    row = jnp.sum(shards, 0)
  before = before + jnp.cumsum(row) - row
  if data is not None:
    shards = jax.lax.all_gather(jnp.sum(row), data)
    earlier = jnp.arange(shards.shape[0]) < jax.lax.axis_index(data)
    before = before + jnp.sum(jnp.where(earlier, shards, 0))
  rank = before[:, None] + jnp.cumsum(equal, 1, dtype=jnp.int32)
  return above | (equal & (rank <= room))


def decode_pairs(pairs: Pairs, W_dec: Float[Array, 'F D'], batch: int) -> Array:
  """`z W_dec` of the codes z in the list, `[B, D]`."""
  values, row, feature = pairs.values, pairs.rows, pairs.features
  return linear.add_sorted(values, row, feature, W_dec, batch, pairs.count)


def pair_products(
  vectors: Float[Array, 'B D'], pairs: Pairs, rows: Float[Array, 'F D']
) -> Float[Array, ' N']:
  """`vectors[row] . rows[feature]` of each pair; 0 behind the last."""
  count = pairs.rows.shape[0]
  size = min(linear.CHUNK, count)
  fill = -count % size
  row, feature = (jnp.pad(a, (0, fill)) for a in (pairs.rows, pairs.features))

  def some(i: Array, products: Array) -> Array:
    own = lambda a: jax.lax.dynamic_slice_in_dim(a, i * size, size)
    part = jnp.einsum('nd,nd->n', vectors[own(row)], rows[own(feature)])
    return jax.lax.dynamic_update_slice_in_dim(products, part, i * size, 0)

  zeros = jnp.zeros(count + fill, jnp.result_type(vectors, rows))
  used = count if pairs.count is None else pairs.count
  return jax.lax.fori_loop(0, linear.chunks(used, size), some, zeros)[:count]


def add_pairs(
  pairs: Pairs, vectors: Float[Array, 'B D'], features: int
) -> Float[Array, 'F D']:
  """`sum values * vectors[row]` over the pairs of each feature."""
  feature, pair = linear.by_feature(pairs.features, features)
  values, source = pairs.values[pair], pairs.rows[pair]
  return linear.add_sorted(values, feature, source, vectors, features, pairs.count)


def encoder_gradients(
  x: Float[Array, 'B D'],
  center: Float[Array, ' D'],
  W_enc: Float[Array, 'D F'],
  d_pre: Pairs,
) -> tuple[Array, Array, Array, Array]:
  """The gradients of x, centre, W_enc and bias, from those of listed pre-activations.

  That of x is never computed where x is data: jit removes it.
  """
  features = W_enc.shape[1]
  d_b = jnp.zeros(features, d_pre.values.dtype).at[d_pre.features].add(d_pre.values)
  d_W = add_pairs(d_pre, x - center, features).T
  return decode_pairs(d_pre, W_enc.T, x.shape[0]), -(W_enc @ d_b), d_W, d_b
