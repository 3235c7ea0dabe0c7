"""Batches on their way to the devices before they are asked for."""

import collections
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import jax


@runtime_checkable
class BatchIterator(Protocol):
  """Batches whose position can be saved: `Batches`, `Mixture`, `DeviceBatches`."""

  def __iter__(self) -> Iterator[Any]: ...

  def __next__(self) -> Any: ...

  def get_state(self) -> dict[str, Any]:
    """The position, plain data."""
    ...

  def set_state(self, state: Mapping[str, Any]) -> None:
    """Goes to a position."""
    ...

  def close(self) -> None:
    """Stops reading ahead."""
    ...


class DeviceBatches(Iterator[Any]):
  """Batches as `jax.Array`s, transferred while the devices work on earlier ones.

      batches = DeviceBatches(reader.batches(4096, seed=0), sharding)

  The position is that of the batches that were handed out, not of those on their way.
  """

  def __init__(
    self,
    batches: BatchIterator,
    sharding: jax.sharding.Sharding | None = None,
    *,
    ahead: int = 2,
  ):
    """Starts where the batches are.

    Args:
      batches: Batches of numpy arrays.
      sharding: How each array is laid out, e.g. `NamedSharding(mesh, P('data'))`; the
        batches of all processes together are one array. None for the default device.
      ahead: How many batches are transferred before they are needed.

    Raises:
      ValueError: if `ahead` is negative.
    """
    if ahead < 0:
      raise ValueError(f'{ahead=} must not be negative.')
    self._batches = batches
    self._sharding = sharding
    self._ahead = ahead
    self._state = batches.get_state()
    self._queue: collections.deque[tuple[Any, dict[str, Any]]] = collections.deque()

  def __iter__(self) -> 'DeviceBatches':
    return self

  def __next__(self) -> Any:
    while len(self._queue) <= self._ahead:
      batch = next(self._batches, None)
      if batch is None:
        break
      placed = jax.tree.map(self._place, batch)
      self._queue.append((placed, self._batches.get_state()))
    if not self._queue:
      raise StopIteration
    batch, self._state = self._queue.popleft()
    return batch

  def get_state(self) -> dict[str, Any]:
    """The position: what `set_state` needs to continue with the next batch."""
    return self._state

  def set_state(self, state: Mapping[str, Any]) -> None:
    """Goes to a position that `get_state` of these or of the inner batches gave."""
    self._batches.set_state(state)
    self._queue.clear()
    self._state = self._batches.get_state()

  def close(self) -> None:
    """Stops reading ahead."""
    self._queue.clear()
    self._batches.close()

  def _place(self, rows: Any) -> jax.Array:
    if self._sharding is None:
      return jax.device_put(rows)
    return jax.make_array_from_process_local_data(self._sharding, rows)
