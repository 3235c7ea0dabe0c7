"""The order in which a dataset is read.

Grain gives the order of blocks, its reshuffling from epoch to epoch, the slices of
processes and the prefetch. Rows are never Grain elements: a Python object per row
would be a hundred times slower than the disk. An element is a window of many blocks,
whose rows are then shuffled together.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

from jaxtyping import Int
import numpy as np

from interp_jax.store.keep import Keep


@dataclasses.dataclass(frozen=True)
class Order:
  """What the order of rows depends on.

  Attributes:
    rows: Number of rows of the dataset.
    block_rows: Rows of a block: what is read in one piece.
    window_blocks: Blocks that are shuffled together.
    seed: The seed.
    process_index: Which slice of the blocks.
    process_count: Of how many.
    keep: Which rows to leave out; None for none.
  """

  rows: int
  block_rows: int
  window_blocks: int
  seed: int
  process_index: int = 0
  process_count: int = 1
  keep: Keep | None = None

  def __post_init__(self) -> None:
    if not 0 <= self.process_index < self.process_count:
      raise ValueError(
        f'process_index={self.process_index} must be in [0, {self.process_count}).'
      )
    if self.process_count > self.blocks:
      raise ValueError(
        f'The dataset has {self.blocks} blocks of {self.block_rows} rows, too few for '
        f'process_count={self.process_count}.'
      )
    if self.window_blocks < 1 or self.seed < 0:
      raise ValueError(
        f'window_blocks={self.window_blocks} must be positive and seed={self.seed} '
        'not negative.'
      )

  @property
  def blocks(self) -> int:
    """Number of blocks of the dataset."""
    return -(-self.rows // self.block_rows)

  @property
  def epoch_windows(self) -> int:
    """Number of windows of this process in an epoch."""
    blocks = -(-(self.blocks - self.process_index) // self.process_count)
    return -(-blocks // self.window_blocks)

  def fewest_rows(self, kept: Int[np.ndarray, 'blocks'] | None = None) -> int:
    """Rows that every process has in every epoch, at least.

    Args:
      kept: Rows that are kept of each block; None for all.
    """
    if kept is None:
      kept = np.full(self.blocks, self.block_rows)
      kept[-1] = self.rows - (self.blocks - 1) * self.block_rows
    if self.process_count == 1:
      return int(kept.sum())
    return int(np.sort(kept)[: self.blocks // self.process_count].sum())

  def to_json(self) -> dict[str, Any]:
    """As plain data."""
    keep = None if self.keep is None else self.keep.to_json()
    fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    return fields | {'keep': keep}

  def permutation(self, window: int, rows: int) -> np.ndarray:
    """Where the rows of a window go within it."""
    key = [self.seed, self.process_index, window]
    return np.random.default_rng(key).permutation(rows)


def windows(
  order: Order, epochs: int | None, read: Callable[[int, np.ndarray], Any]
) -> Any:
  """Grain's iterator over the windows of one process, with its position.

  Args:
    order: The order.
    epochs: How often to go through the dataset; None for ever.
    read: From the index of a window and the blocks of it to what the iterator gives.
      It runs in two threads, two windows ahead.

  Returns:
    The iterator.
  """
  # Importing Grain takes a third of a second, which nobody else should pay.
  import grain

  # Grain's epoch e has the seed `seed + e`; mixed first, so that the epochs of seed 0
  # are not those of seed 1 moved by one.
  seed = int(np.random.SeedSequence(order.seed).generate_state(1)[0])
  blocks = grain.MapDataset.range(order.blocks).shuffle(seed=seed)
  blocks = blocks[order.process_index :: order.process_count]
  groups = blocks.batch(order.window_blocks, drop_remainder=False).repeat(epochs)
  # Of two threads, one reads while the other waits for the last chunk of its window.
  options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=2)
  return iter(groups.map_with_index(read).to_iter_dataset(options))
