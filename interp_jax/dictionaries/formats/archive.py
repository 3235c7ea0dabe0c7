"""The zip archives of torch: named stretches of a file, never extracted."""

import mmap
import pathlib
import struct
import zipfile


class Archive:
  """A zip archive as torch writes it, whose members are plain stretches of a file."""

  def __init__(self, file: pathlib.Path):
    """Reads the list of members.

    Args:
      file: The file.

    Raises:
      ValueError: if it is of torch before 1.6, or no archive of torch.
    """
    self.file = file
    if not zipfile.is_zipfile(file):
      raise ValueError(_not_an_archive(file))
    try:
      with zipfile.ZipFile(file) as archive:
        self._members = {info.filename: info for info in archive.infolist()}
        if len(self._members) < len(archive.infolist()):
          raise ValueError(f'{file} is damaged: two of its members have one name.')
    except zipfile.BadZipFile as error:
      raise ValueError(f'{file} is damaged: {error}.') from error
    programs = [name for name in self._members if name.endswith('/data.pkl')]
    if len(programs) != 1:
      raise ValueError(f'{file} is a zip archive, but not one of torch.save.')
    self._prefix = programs[0].removesuffix('data.pkl')
    order = self._members.get(f'{self._prefix}byteorder')
    if order and self.bytes('byteorder') != b'little':
      raise ValueError(
        f'{file} was written by a machine whose bytes run the other way (big endian). '
        'Save it again on a common one.'
      )

  def size(self, name: str) -> int:
    """How many bytes a member has; raises ValueError if there is none of the name."""
    info = self._members.get(self._prefix + name)
    if info is None:
      raise ValueError(f'{self.file} is damaged: it has no member {name!r}.')
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
      raise ValueError(f'{self.file}: {name} is compressed; torch does not do that.')
    return info.file_size

  def bytes(self, name: str) -> memoryview | bytes:
    """A member, mapped from the file."""
    size = self.size(name)
    if not size:
      return b''
    header = self._members[self._prefix + name].header_offset
    with self.file.open('rb') as opened:
      opened.seek(header)
      local = opened.read(30)
      if len(local) < 30 or local[:4] != b'PK\x03\x04':
        raise ValueError(f'{self.file} is damaged: {name} is not where it should be.')
      start = header + 30 + sum(struct.unpack('<HH', local[26:]))
      if start + size > self.file.stat().st_size:
        raise ValueError(f'{self.file} is cut off: {name} does not fit in it.')
      before = start % mmap.ALLOCATIONGRANULARITY
      mapped = mmap.mmap(
        opened.fileno(),
        before + size,
        access=mmap.ACCESS_READ,
        offset=start - before,
      )
    return memoryview(mapped)[before:]


def _not_an_archive(file: pathlib.Path) -> str:
  with file.open('rb') as opened:
    start = opened.read(1)
  if start != b'\x80':
    return f'{file} is not a file of torch.save, or it is cut off.'
  return (
    f'{file} was written by torch before 1.6 (or by pickle itself): it is not a zip '
    'archive. If you trust where it comes from, write it anew with torch: '
    "`state = torch.load(file, weights_only=True, map_location='cpu')`, then "
    '`torch.save(state, file)`.'
  )
