"""The k largest of each row without sorting: thresholds by counting, then bits.

`lax.top_k` keeps a heap for each row. On CPUs that takes as long as the matrix product
that made the row. Here everything is elementwise and vectorised:

1. The row is cut into groups, and t is the k-th largest of the groups' maxima. At
   least k entries are not below t, and seldom many more.
2. Which entries these are is packed into bits, 32 to a word; counting bits gives each
   candidate its place, so the candidates are gathered and nothing is scattered.
3. Among the few candidates the k-th largest is exact, and of entries that equal it the
   first ones are taken.

The k-th largest is found by building it bit by bit, from the highest, counting after
each how many entries are not below. Floats are compared as integers in the same order.

Measured on two cores, 32 of `[2048, 8192]` float32: 12 ms, `lax.top_k` 37 ms; right
behind the matrix product, in blocks of rows that stay in the cache, 0.5 ms.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt

Values = Float[Array, 'B k']
Indices = Int[Array, 'B k']

WORD = 32
LOWEST = -(2**31)


def ordered(values: Float[Array, '*shape']) -> Int[Array, '*shape']:
  """Integers in the order of floats: NaN above all, -0 below 0, as in `lax.top_k`.

  Args:
    values: float32 or narrower; bfloat16 and float16 are widened, which is exact.
  """
  bits = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.int32)
  return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def kth_largest(keys: Int[Array, 'N B'], k: int) -> Int[Array, ' B']:
  """The k-th largest of each column: the largest t such that k keys are not below t."""

  def add_bit(i: Array, t: Array) -> Array:
    # The first bit is the sign: flipping it takes the lowest integer to 0.
    trial = t ^ (jnp.int32(1) << (31 - i))
    enough = jnp.sum(keys >= trial, 0, dtype=jnp.int32) >= k
    return jnp.where(enough, trial, t)

  start = jnp.full(keys.shape[1], LOWEST, jnp.int32)
  return jax.lax.fori_loop(0, 32, add_bit, start)


def words_of(mask: Bool[Array, 'B F']) -> UInt[Array, 'B W']:
  """The mask in words of 32 bits, the first entry the lowest; 0 behind the last."""
  fill = -mask.shape[1] % WORD
  if fill:
    mask = jnp.pad(mask, ((0, 0), (0, fill)))
  grouped = mask.reshape(mask.shape[0], -1, WORD).astype(jnp.uint32)
  return jnp.sum(grouped << jnp.arange(WORD, dtype=jnp.uint32), -1, dtype=jnp.uint32)


def count_bits(words: UInt[Array, '*shape']) -> Int[Array, '*shape']:
  """How many bits of each word are set."""
  return jax.lax.population_count(words).astype(jnp.int32)


def nth_bit(
  words: UInt[Array, '*shape'], n: Int[Array, '*shape']
) -> Int[Array, '*shape']:
  """Where the n-th set bit of each word is, from 0, by halving the word."""
  place = jnp.zeros_like(n)
  for half in (16, 8, 4, 2, 1):
    low = count_bits(words & jnp.uint32((1 << half) - 1))
    above = n >= low
    n = jnp.where(above, n - low, n)
    words = jnp.where(above, words >> half, words)
    place = jnp.where(above, place + half, place)
  return place


def first_above(sums: Int[Array, 'B N'], j: Int[Array, '#B C']) -> Int[Array, 'B C']:
  """The first position of each row whose running sum exceeds j, by bisection.

  Args:
    sums: Rows that never decrease.
    j: What to exceed; where the whole row does not, the last position is given.
  """
  count = sums.shape[1]
  shape = jnp.broadcast_shapes(j.shape, (sums.shape[0], 1))
  position = jnp.zeros(shape, jnp.int32)  # All before it do not exceed j.
  step = 1 << count.bit_length()
  while step := step // 2:
    probe = position + step - 1
    behind = (probe < count) & (take(sums, jnp.minimum(probe, count - 1)) <= j)
    position = jnp.where(behind, position + step, position)
  return jnp.minimum(position, count - 1)


def take(rows: Array, places: Int[Array, 'B C']) -> Array:
  """`rows[b, places[b, c]]`."""
  return jnp.take_along_axis(rows, places, 1, mode='promise_in_bounds')


def select(pre: Float[Array, 'B F'], k: int) -> tuple[Values, Indices]:
  """The k largest of each row, largest first, and where they are.

  Exactly k: of equal values the one with the lower index comes first.
  """
  values, indices = jax.lax.top_k(pre, k)  # A list, in spite of its annotation.
  return values, indices


def select_by_index(
  pre: Float[Array, 'B F'], k: int, bias: Float[Array, ' F'] | float = 0.0
) -> tuple[Values, Indices]:
  """The k largest of each row, those of `select`, in the order of their indices.

  Args:
    pre: Pre-activations, float32 or narrower; wider ones are selected by `select`.
    k: How many to keep, at most F.
    bias: To be added to each row. Added here, the sum is never in memory.

  Returns:
    Values and indices, by rising index.
  """
  if pre.dtype == jnp.float64:
    return _by_index(pre + bias, k)
  room = min(2 * k + 16, pre.shape[1])
  biased = pre + bias
  threshold = kth_largest(ordered(group_maxima(biased, 8 * k)).T, k)
  words = words_of(ordered(biased) >= threshold[:, None])
  counts = count_bits(words)
  sums = jnp.cumsum(counts, 1)
  few = jnp.all((sums[:, -1] >= k) & (sums[:, -1] <= room))
  # Crowded groups or many ties, which only contrived rows have, are left to `select`.
  return jax.lax.cond(
    few,
    lambda: _among(pre, bias, k, words, counts, sums, room),
    lambda: _by_index(pre + bias, k),
  )


def group_maxima(pre: Float[Array, 'B F'], least: int) -> Float[Array, 'B G']:
  """Maxima of groups of neighbours: the largest groups that leave `least` a row."""
  size = WORD
  while size > 1 and pre.shape[1] < least * size:
    size //= 2
  fill = -pre.shape[1] % size
  if fill:
    pre = jnp.pad(pre, ((0, 0), (0, fill)), constant_values=-jnp.inf)
  return jnp.max(pre.reshape(pre.shape[0], -1, size), -1)


def _by_index(pre: Array, k: int) -> tuple[Array, Array]:
  indices = jnp.sort(jax.lax.top_k(pre, k)[1], -1)
  return take(pre, indices), indices


def _among(
  pre: Array,
  bias: Array | float,
  k: int,
  words: Array,
  counts: Array,
  sums: Array,
  room: int,
) -> tuple[Array, Array]:
  """The k largest of the candidates, of which there are at most `room` a row."""
  place = jnp.arange(room)[None]
  word = first_above(sums, place)
  rank = place - (take(sums, word) - take(counts, word))
  filled = place < sums[:, -1:]
  index = word * WORD + nth_bit(take(words, word), rank)
  index = jnp.where(filled, index, 0)
  value = take(pre, index) + jnp.broadcast_to(bias, pre.shape[1:])[index]
  keys = jnp.where(filled, ordered(value), LOWEST)
  kept = first_largest(keys, kth_largest(keys.T, k)[:, None], k)
  chosen = first_above(jnp.cumsum(kept, 1, dtype=jnp.int32), jnp.arange(k)[None])
  return take(value, chosen), take(index, chosen)


def first_largest(
  keys: Int[Array, 'B C'], kth: Int[Array, 'B 1'], k: int
) -> Bool[Array, 'B C']:
  """Which are the k largest of each row, given the k-th; of equal ones the first."""
  above, equal = keys > kth, keys == kth
  room = k - jnp.sum(above, 1, keepdims=True, dtype=jnp.int32)
  return above | (equal & (jnp.cumsum(equal, 1, dtype=jnp.int32) <= room))
