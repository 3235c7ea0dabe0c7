"""Shuffled batches straight from the model: training without a dataset on disk.

Sequences come in a new random order in every epoch. A *generation* is what the model
gives for some hundreds of them, and fills one half of a buffer on the devices. In every
round the half that was used up is refilled with a new generation, of which a random
half is served at once, shuffled together with what was left of the one before; the rest
waits for the next round. So the buffer is served half, refilled, and mixed anew, every
row is served once, and each batch has rows of two generations.

Unlike in buffers that shuffle all that is left again and again, no row stays for more
than two rounds. The position is therefore three numbers: to go on from it, two
generations are computed again, and the batches that follow are the same to the bit.
"""

from collections.abc import Iterable, Iterator, Mapping
import dataclasses
from typing import Any

from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Integer
import numpy as np

from interp_jax import sharding
from interp_jax.harvest import placement
from interp_jax.harvest.buffer import Buffer
from interp_jax.harvest.forward import Forward, Sites, make_forward
from interp_jax.harvest.rows import Sequences, as_sequences
from interp_jax.models import Transformer

# What a random number generator is for.
_WITHIN, _BETWEEN = 0, 1


@dataclasses.dataclass(frozen=True)
class Mixing:
  """What the order of rows depends on, beside the tokens.

  Attributes:
    sequences: Number of sequences there are.
    length: Tokens of each, `T`.
    batch_rows: Rows of a batch that is served.
    model_batch: Sequences of a batch that the model is run on.
    model_batches: Such batches of a generation.
    seed: The seed.
  """

  sequences: int
  length: int
  batch_rows: int
  model_batch: int
  model_batches: int
  seed: int

  @property
  def generation(self) -> int:
    """Sequences of a generation."""
    return self.model_batch * self.model_batches

  def shuffle(
    self, purpose: int, index: int, rows: Int[np.ndarray, 'n']
  ) -> Int[np.ndarray, 'n']:
    """The rows in a random order that depends on nothing but the arguments."""
    return np.random.default_rng([self.seed, purpose, index]).permutation(rows)


class Stream(Iterator[Any]):
  """An endless iterator over shuffled batches of activations, on the devices.

  It gives `[batch_size, ...]` for a single array, and a dict of those by name for
  several. It has the interface of `store.Batches`: `get_state` is a small dict of plain
  data, and a stream made with the same arguments goes on there after `set_state`.
  """

  def __init__(
    self, forward: Forward, sequences: Sequences, mixing: Mixing, mesh: Mesh | None
  ):
    """Starts at the first batch; see `stream`."""
    self._forward, self._sequences, self._mixing = forward, sequences, mixing
    shape = (mixing.model_batch, mixing.length)
    self._mesh = mesh
    self._buffer = Buffer(forward, 2 * mixing.model_batches, shape, mesh)
    self._order = _shuffled(mixing.sequences, mixing.seed)
    # Rows of the generations in the buffer, in the order in which they are served.
    self._generations: dict[int, Int[np.ndarray, 'n']] = {}
    self._round = self._batch = self._served = 0
    self._pool: Int[np.ndarray, 'b N'] | None = None

  def __iter__(self) -> 'Stream':
    return self

  def __next__(self) -> Any:
    while self._pool is None or self._batch == len(self._pool):
      self._next_round()
    where = self._pool[self._batch]
    self._batch += 1
    mixing = self._mixing
    sizes = (2 * mixing.model_batches, mixing.model_batch, mixing.length)
    rows = self._buffer.take(np.stack(np.unravel_index(where, sizes), axis=-1))
    return next(iter(rows.values())) if len(rows) == 1 else rows

  def get_state(self) -> dict[str, Any]:
    """The position: what `set_state` needs to continue with the next batch."""
    return {
      'round': self._round,
      'batch': self._batch,
      'served': self._served,
      'mixing': dataclasses.asdict(self._mixing),
    }

  def set_state(self, state: Mapping[str, Any]) -> None:
    """Goes to a position; the model is run again on what the buffer held there.

    Raises:
      ValueError: if the state is that of another stream.
    """
    mixing = dataclasses.asdict(self._mixing)
    if dict(state['mixing']) != mixing:
      raise ValueError(
        f'The position belongs to a stream of {state["mixing"]}, this is one of '
        f'{mixing}. Use the same tokens, sizes and seed.'
      )
    self._round, self._batch = state['round'], state['batch']
    self._served = state['served']
    self._generations, self._pool = {}, None

  def close(self) -> None:
    """Frees the buffer."""
    del self._buffer

  def sample(self, rows: int, array: str | None = None) -> Float[np.ndarray, 'N ...']:
    """Some rows of sequences from all over the tokens, float32, on the host.

    Args:
      rows: How many, at least; all if there are fewer.
      array: Of which array; None for the first.
    """
    mixing = self._mixing
    every = np.arange(0, mixing.sequences)
    count = -(-2 * rows // mixing.length)
    chosen = every[
      np.linspace(0, mixing.sequences - 1, min(count, len(every)), dtype=int)
    ]
    forward = self._forward.on(self._mesh)
    parts, found = [], 0
    for batch, _ in self._sequences.select(chosen).batches(mixing.model_batch):
      inputs = placement.inputs(self._mesh, batch.tokens, batch.mask)
      acts = forward.run(forward.params, *inputs)
      act = sharding.to_host(acts[array or forward.specs[0].name])
      parts.append(act[batch.keep].astype(np.float32))
      found += len(parts[-1])
      if found >= rows:
        break
    return np.concatenate(parts)

  def _next_round(self) -> None:
    if self._pool is not None:
      self._served = self._serve(self._round)
      self._round, self._batch = self._round + 1, 0
    self._pool = self._make_pool()

  def _make_pool(self) -> Int[np.ndarray, 'b N']:
    """Fills the buffer for this round; the rows that it serves, by batch."""
    number = self._round
    old = self._generation(number - 1)[self._served :] if number else _NONE
    new = self._generation(number)[: self._serve(number)]
    self._generations.pop(number - 2, None)
    pool = self._mixing.shuffle(_BETWEEN, number, np.concatenate([old, new]))
    return pool.reshape(-1, self._mixing.batch_rows)

  def _serve(self, number: int) -> int:
    """How many rows of its own generation a round serves: half, to full batches."""
    size = self._mixing.batch_rows
    left = len(self._generation(number - 1)) - self._served if number else 0
    there = len(self._generation(number))
    half = there // 2
    count = half + -(left + half) % size
    if count > there:
      count -= size
    if count < 0:
      raise ValueError(
        f'Two rounds gave {left + there} rows, less than a batch of {size}. Give a '
        'larger buffer.'
      )
    return count

  def _generation(self, number: int) -> Int[np.ndarray, 'n']:
    """The rows of a generation, in random order; it is computed if it is not there."""
    if number not in self._generations:
      self._generations[number] = self._compute(number)
    return self._generations[number]

  def _compute(self, number: int) -> Int[np.ndarray, 'n']:
    mixing = self._mixing
    size = mixing.generation
    indices = range(number * size, (number + 1) * size)
    chosen = self._sequences.select(np.array([self._order[i] for i in indices]))
    first = number % 2 * mixing.model_batches
    for slot in range(mixing.model_batches):
      batch = chosen.batch(slot * mixing.model_batch, mixing.model_batch)
      self._buffer.fill(first + slot, batch.tokens, batch.mask)
    kept = np.flatnonzero(chosen.keep(0, size))
    start = first * mixing.model_batch * mixing.length
    return start + mixing.shuffle(_WITHIN, number, kept)


def stream(
  model: Transformer,
  params: dict[str, Any],
  tokens: Integer[Array | np.ndarray, 'n T'] | Sequences,
  batch_size: int,
  seed: int = 0,
  *,
  sites: Sites,
  buffer_rows: int = 2**19,
  model_batch: int = 32,
  drop_first: int = 1,
  mask: Bool[Array | np.ndarray, 'n T'] | None = None,
  heads: Mapping[str, Iterable[int]] | None = None,
  flat: bool = False,
  dtype: str = 'bfloat16',
  compute_dtype: str | None = None,
  mesh: Mesh | None = None,
) -> Stream:
  """Shuffled batches of activations straight from the model, without end.

  What feeds training where a dataset would be too large to write down, or is read but
  once. The buffer, the model and what is trained are on the same devices, and nothing
  goes through the host.

  Args:
    model: The model.
    params: Its parameters; with a mesh, those that are not on it are replicated.
    tokens: As in `harvest`.
    batch_size: Rows of a batch.
    seed: Of the order.
    sites: Site → layers, as in `harvest`.
    buffer_rows: Tokens that the buffer holds, about; rows mix within it.
    model_batch: Sequences of a batch of the model, a multiple of the mesh's `data`
      axis.
    drop_first: As in `harvest`.
    mask: As in `harvest`.
    heads: As in `harvest`.
    flat: As in `harvest`.
    dtype: Of the batches.
    compute_dtype: As in `harvest`.
    mesh: Devices over whose `data` axis the buffer and the batches are split, those of
      all processes where there are several, which then all give the same arguments;
      None for one device.

  Returns:
    The iterator.

  Raises:
    ValueError: if a site, a layer, a head or a shape does not fit, or the buffer is
      too small for two batches.
  """
  given = as_sequences(tokens, mask, None, None, drop_first)
  given.check_vocabulary(model.cfg.vocab_size)
  placement.check_divides(mesh, model_batch)
  placement.check_divides(mesh, batch_size)
  length = given.tokens.shape[1]
  mixing = Mixing(
    sequences=len(given),
    length=length,
    batch_rows=batch_size,
    model_batch=model_batch,
    model_batches=max(1, buffer_rows // (2 * model_batch * length)),
    seed=seed,
  )
  if mixing.generation * length < batch_size:
    raise ValueError(
      f'A buffer of {2 * mixing.generation * length} rows holds less than two batches '
      f'of {batch_size}. Give a larger buffer_rows={buffer_rows}.'
    )
  forward = make_forward(
    model,
    params,
    sites,
    dtype,
    (model_batch, length),
    heads=heads,
    flat=flat,
    compute_dtype=compute_dtype,
  )
  return Stream(forward, given, mixing, mesh)


_NONE = np.zeros(0, np.int64)


def _shuffled(count: int, seed: int) -> Any:
  """Indices of sequences without end, every epoch in a new order."""
  # Importing Grain takes a third of a second, which nobody else should pay.
  import grain

  return grain.MapDataset.range(count).shuffle(seed=seed).repeat()
