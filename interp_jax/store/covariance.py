"""The covariance of an array, in a file of its own: it may be large."""

import hashlib
import io

from jaxtyping import Float
import numpy as np

from interp_jax.store.errors import DamagedError
from interp_jax.store.folder import Folder


def covariance_file(name: str) -> str:
  """The file of an array's covariance: a numpy file, float64 `[D, D]`."""
  return f'covariance/{name}.npy'


def write_covariance(
  folder: Folder, name: str, covariance: Float[np.ndarray, 'D D']
) -> str:
  """Writes the covariance of one array.

  Returns:
    The SHA-256 of the file.

  Raises:
    StoreError: if it cannot be written.
  """
  file = io.BytesIO()
  np.save(file, covariance, allow_pickle=False)
  data = file.getvalue()
  folder.write(covariance_file(name), data)
  return hashlib.sha256(data).hexdigest()


def read_covariance(folder: Folder, name: str, digest: str) -> Float[np.ndarray, 'D D']:
  """Reads the covariance of one array.

  Args:
    folder: The folder of the dataset.
    name: The array.
    digest: What `write_covariance` returned.

  Raises:
    DamagedError: if it is not what was written.
    StoreError: if it cannot be read.
  """
  file = covariance_file(name)
  data = folder.read(file) or b''
  if hashlib.sha256(data).hexdigest() != digest:
    raise DamagedError(
      f'{folder.where(file)} is damaged or missing: its checksum is not that in the '
      'manifest.'
    )
  return np.load(io.BytesIO(data), allow_pickle=False)
