"""Files that grow and can be cut back to where they were when a record was made."""

import io
import pathlib

from jaxtyping import Shaped
import numpy as np


class GrowingFile:
  """Bytes that are appended to."""

  def __init__(self, path: pathlib.Path, size: int):
    """Opens a file and cuts off all but its first bytes.

    Args:
      path: The file; made if it is not there.
      size: Bytes to keep.

    Raises:
      ValueError: if it has fewer.
    """
    self._file = path.open('r+b' if path.exists() else 'w+b')
    length = self._file.seek(0, 2)
    if length < size:
      self._file.close()
      raise ValueError(
        f'{path} has {length} bytes and should have {size}: it was changed. Delete its '
        'folder to begin again.'
      )
    self._file.truncate(size)
    self._file.seek(size)
    self.size = size

  def append(self, data: bytes | memoryview) -> None:
    """Writes at the end, through a buffer."""
    self._file.write(data)
    self.size += len(data)

  def flush(self) -> None:
    """Hands over what was written to the operating system."""
    self._file.flush()

  def replace_start(self, data: bytes) -> None:
    """Overwrites the first bytes."""
    self._file.seek(0)
    self._file.write(data)
    self._file.seek(self.size)

  def close(self) -> None:
    """Closes the file."""
    self._file.close()


class GrowingTable:
  """A `.npy` file of shape `[n, T]` whose n grows; numpy can open it when closed."""

  def __init__(self, path: pathlib.Path, width: int, dtype: np.dtype, rows: int):
    """Opens a table and cuts off all but its first rows.

    Args:
      path: The file; made if it is not there.
      width: `T`.
      dtype: Of the entries.
      rows: Rows to keep.

    Raises:
      ValueError: if it has fewer.
    """
    self._width, self._dtype, self._rows = width, dtype, rows
    header = self._header()
    kept = len(header) + rows * width * dtype.itemsize if rows else 0
    self._file = GrowingFile(path, kept)
    if not kept:
      self._file.append(header)

  def append(self, rows: Shaped[np.ndarray, 'm T']) -> None:
    """Appends rows."""
    self._file.append(np.ascontiguousarray(rows, self._dtype).tobytes())
    self._rows += len(rows)

  def flush(self) -> None:
    """Hands over what was written to the operating system."""
    self._file.flush()

  def close(self) -> None:
    """Writes the number of rows and closes the file."""
    self._file.replace_start(self._header())
    self._file.close()

  def _header(self) -> bytes:
    """The header, which is as long for any number of rows."""
    buffer = io.BytesIO()
    described = {
      'descr': np.lib.format.dtype_to_descr(self._dtype),
      'fortran_order': False,
      'shape': (self._rows, self._width),
    }
    np.lib.format.write_array_header_1_0(buffer, described)
    return buffer.getvalue()
