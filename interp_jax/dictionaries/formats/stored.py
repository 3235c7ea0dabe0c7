"""Tensors in files, by name, their shapes known before anything is read."""

from collections.abc import Callable, Mapping
import pathlib
from typing import Any, NamedTuple
import zipfile

from jaxtyping import Shaped
import ml_dtypes
import numpy as np

# Importing it is what teaches numpy the name, which safetensors asks it for.
_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


class Stored(NamedTuple):
  """A tensor of a file, not read yet.

  Attributes:
    shape: Its shape.
    read: Reads it.
  """

  shape: tuple[int, ...]
  read: Callable[[], Shaped[np.ndarray, '...']]


Tensors = Mapping[str, Stored]


def from_safetensors(file: pathlib.Path) -> dict[str, Stored]:
  """The tensors of a safetensors file.

  Raises:
    ValueError: if it is none, or is cut off.
  """
  from safetensors import SafetensorError, safe_open

  def read(name: str) -> Callable[[], np.ndarray]:
    def tensor() -> np.ndarray:
      with safe_open(file, framework='numpy') as opened:
        return opened.get_tensor(name)

    return tensor

  try:
    with safe_open(file, framework='numpy') as opened:
      names = list(opened.keys())
      shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in names}
  except SafetensorError as error:
    raise ValueError(f'{file} is not a safetensors file: {error}.') from error
  return {name: Stored(shape, read(name)) for name, shape in shapes.items()}


def from_npz(file: pathlib.Path) -> dict[str, Stored]:
  """The arrays of an npz file, which must not be pickled ones.

  Raises:
    ValueError: if it is none, or one of its arrays is pickled.
  """
  try:
    with zipfile.ZipFile(file) as archive:
      members = [name for name in archive.namelist() if name.endswith('.npy')]
      return {
        name.removesuffix('.npy'): _npy(file, name, archive.open(name))
        for name in members
      }
  except (zipfile.BadZipFile, EOFError) as error:
    raise ValueError(f'{file} is not an npz file: {error}.') from error


def _npy(file: pathlib.Path, name: str, opened: Any) -> Stored:
  """An array of an npz file, from its header."""
  key = name.removesuffix('.npy')

  def read() -> np.ndarray:
    with np.load(file, allow_pickle=False) as arrays:
      return arrays[key]

  with opened:
    major, _ = np.lib.format.read_magic(opened)
    if major == 1:
      shape, _, dtype = np.lib.format.read_array_header_1_0(opened)
    else:
      shape, _, dtype = np.lib.format.read_array_header_2_0(opened)
  if dtype.hasobject:
    raise ValueError(
      f'{file}: {key} is pickled, and opening a pickle runs whatever code is in it. '
      'Only arrays of numbers are read.'
    )
  return Stored(shape, read)


def check_shapes(
  where: str, tensors: Tensors, wanted: Mapping[str, tuple[int, ...]]
) -> None:
  """Compares the tensors of a file with those that its config asks for.

  Raises:
    ValueError: if they are others, or of other shapes.
  """
  found = {name: tensor.shape for name, tensor in tensors.items()}
  if found != wanted:
    differ = sorted(n for n in {*found, *wanted} if found.get(n) != wanted.get(n))
    shown = ', '.join(f'{n} {found.get(n)}, not {wanted.get(n)}' for n in differ)
    raise ValueError(f'{where} holds other tensors than its config has: {shown}.')
