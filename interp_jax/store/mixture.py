"""Batches of several datasets, mixed by weight."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from interp_jax.store.batches import Batches, length


class Mixture(Iterator[Any]):
  """Batches whose rows come from several datasets in given proportions.

      mixed = Mixture([a.batches(1, 0), b.batches(1, 0)], [3, 1], 4096, seed=0)

  Every batch has its share of each to within one row, and over time the shares are
  exact. The rows of a batch are shuffled together. A dataset that ends (with `epochs`
  given) leaves its share to the others, so every row comes as often as its own
  batches have it, and the mixture ends when all have ended.
  """

  def __init__(
    self,
    sources: Sequence[Batches],
    weights: Sequence[float | int],
    batch_size: int,
    seed: int,
    *,
    drop_last: bool = False,
  ):
    """Starts where the sources are.

    Args:
      sources: The batches of each dataset, all of the same arrays or all of one; their
        own batch size does not matter.
      weights: The share of each, positive; they need not sum to one.
      batch_size: Rows of a batch.
      seed: Of the order within a batch.
      drop_last: Whether to leave out a last batch that is not full.

    Raises:
      ValueError: if the numbers make no sense, or the sources do not fit together.
    """
    if len(sources) != len(weights) or not sources or min(weights) <= 0:
      raise ValueError(
        f'{len(sources)} sources need as many positive weights, got {[*weights]}.'
      )
    if batch_size < 1 or seed < 0:
      raise ValueError(f'{batch_size=} must be positive and {seed=} not negative.')
    kinds = [source.kind for source in sources]
    if any(kind != kinds[0] for kind in kinds):
      raise ValueError(f'The sources have rows of different kinds: {kinds}.')
    self._sources = tuple(sources)
    self._settings = {
      'weights': [float(w) for w in weights],
      'batch_size': batch_size,
      'seed': seed,
    }
    self._drop_last = drop_last
    self._given = 0
    self._live = [True] * len(sources)
    # How many rows each is owed, beyond those that it gave.
    self._owed = np.zeros(len(sources))

  def __iter__(self) -> 'Mixture':
    return self

  def __next__(self) -> Any:
    size = missing = self._settings['batch_size']
    parts: list[dict[str, np.ndarray]] = []
    while missing and any(self._live):
      taken = self._take_shares(missing)
      missing -= sum(map(length, taken))
      parts += taken
    if not parts or (missing and self._drop_last):
      raise StopIteration
    order = self._order(size - missing)
    self._given += 1
    batch = {name: np.concatenate([p[name] for p in parts])[order] for name in parts[0]}
    return self._sources[0].present(batch)

  def get_state(self) -> dict[str, Any]:
    """The position: what `set_state` needs to continue with the next batch."""
    return {
      'batches': self._given,
      'live': [*self._live],
      'owed': self._owed.tolist(),
      'sources': [source.get_state() for source in self._sources],
      'settings': self._settings,
    }

  def set_state(self, state: Mapping[str, Any]) -> None:
    """Goes to a position.

    Raises:
      ValueError: if the state belongs to another mixture.
    """
    if dict(state['settings']) != self._settings:
      raise ValueError(
        f'The position belongs to the mixture {state["settings"]}, this is '
        f'{self._settings}.'
      )
    for source, position in zip(self._sources, state['sources'], strict=True):
      source.set_state(position)
    self._given = state['batches']
    self._live = [*state['live']]
    self._owed = np.asarray(state['owed'], float)

  def close(self) -> None:
    """Stops the prefetch of all sources."""
    for source in self._sources:
      source.close()

  def _take_shares(self, rows: int) -> list[dict[str, np.ndarray]]:
    """Takes so many rows, or fewer if a source ends."""
    before, parts = [*self._live], []
    for index, share in enumerate(self._shares(rows)):
      part = self._sources[index].take(share) if share else None
      got = 0 if part is None else length(part)
      self._live[index] &= got == share
      self._owed[index] -= got
      if part is not None:
        parts.append(part)
    if self._live != before:
      self._owed[:] = 0  # The proportions of those that are left begin anew.
    return parts

  def _shares(self, rows: int) -> list[int]:
    """How many rows to take from each source: what they are owed, rounded."""
    weights = np.where(self._live, self._settings['weights'], 0.0)
    self._owed += rows * weights / weights.sum()
    exact = self._owed.clip(0)
    exact *= rows / exact.sum()
    shares = np.floor(exact).astype(int)
    # The rows that are left go to those that lost most by the rounding.
    left = rows - int(shares.sum())
    shares[np.argsort(shares - exact, kind='stable')[:left]] += 1
    return shares.tolist()

  def _order(self, rows: int) -> np.ndarray:
    key = [self._settings['seed'], self._given]
    return np.random.default_rng(key).permutation(rows)
