"""Devices of several hosts, of which a mesh can be made on one."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Device:
  """What a mesh reads of a device."""

  id: int
  process_index: int
  slice_index: int | None = None
  platform: str = 'gpu'
  device_kind: str = 'H100'


def hosts(count, each, sliced=True):
  """Devices of several hosts, a process each, in no order."""
  devices = [
    Device(host * each + i, host, host if sliced else None)
    for i in range(each)
    for host in reversed(range(count))
  ]
  assert len(devices) == count * each
  return devices
