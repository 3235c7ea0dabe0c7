"""Which shards a process writes, and where it takes up its work again."""

import dataclasses

from interp_jax.store.folder import Folder
from interp_jax.store.records import read_records, record_file, recorded
from interp_jax.store.schema import Schema

# More shards than any dataset has.
_ENDLESS = 2**62


@dataclasses.dataclass(frozen=True)
class Share:
  """The shards of one process: neighbours, so that what it appends is in one piece.

  Attributes:
    shards: Their indices.
    shard_rows: Rows of each but the last of the dataset.
    total: Rows of the dataset; None if that is not known.
  """

  shards: range
  shard_rows: int
  total: int | None

  @classmethod
  def of_process(
    cls, schema: Schema, total: int | None, index: int, count: int
  ) -> 'Share':
    """The share of one of several processes, equal for all up to one shard.

    Raises:
      ValueError: if the numbers make no sense.
    """
    if not 0 <= index < count:
      raise ValueError(f'process_index={index} must be in [0, {count}).')
    if total is None and count > 1:
      raise ValueError(
        f'process_count={count} processes can share the rows only if total_rows is '
        'given.'
      )
    if total is not None and total < 1:
      raise ValueError(f'total_rows={total} must be positive.')
    shards = _ENDLESS if total is None else schema.shards(total)
    own = range(index * shards // count, (index + 1) * shards // count)
    return cls(own, schema.shard_rows, total)

  @property
  def stop(self) -> int | None:
    """The row after the last of the share; None if the total is not known."""
    return None if self.total is None else self.first_row(self.shards.stop)

  def first_row(self, shard: int) -> int:
    """The first row of a shard, the total for the shard after the last."""
    row = shard * self.shard_rows
    return row if self.total is None else min(row, self.total)


def take_up(folder: Folder, schema: Schema, share: Share) -> int:
  """Deletes what is there of the first incomplete shard of a share and of later ones.

  Returns:
    The first row that is not safe.
  """
  done, shard = recorded(folder), share.shards.start
  while shard in done and shard < share.shards.stop:
    shard += 1
  if shard > share.shards.start:
    # The last one is shorter if the process was killed after its last rows: that is
    # right only if they are the last rows of the dataset this time, too.
    (record,) = read_records(folder, schema, [shard - 1])
    if record.rows != share.first_row(shard) - share.first_row(shard - 1):
      shard -= 1
  _forget(folder, schema, range(shard, share.shards.stop))
  return share.first_row(shard)


def _forget(folder: Folder, schema: Schema, shards: range) -> None:
  """Deletes shards with their records, whole or half written.

  The records go first: a shard that is recorded is never half there.
  """
  folder.delete(record_file(s) for s in sorted(recorded(folder)) if s in shards)
  for part in schema.parts:
    prefix = f'{part.name}/c/'
    shard = {
      name: int(name[len(prefix) :].split('/')[0]) for name in folder.names(prefix)
    }
    folder.delete(name for name, number in shard.items() if number in shards)
