"""Tensors of a folder of safetensors files, one at a time and never all in memory.

A file is eight bytes with the length of a JSON header, the header (name → dtype, shape
and where the bytes lie), and the bytes. Reading it here, and not by a call that maps
the whole file, keeps what is resident to the tensor at hand.
"""

from collections.abc import Callable, Iterable, Mapping
import json
import math
import os
import pathlib
import struct
from typing import Any, NamedTuple

from jaxtyping import Shaped
import ml_dtypes
import numpy as np

INDEX = 'model.safetensors.index.json'
SINGLE = 'model.safetensors'
_DTYPES = {
  'F64': np.dtype(np.float64),
  'F32': np.dtype(np.float32),
  'F16': np.dtype(np.float16),
  'BF16': np.dtype(ml_dtypes.bfloat16),
  'I64': np.dtype(np.int64),
  'I32': np.dtype(np.int32),
  'U8': np.dtype(np.uint8),
  'BOOL': np.dtype(np.bool_),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_SHARD_BYTES = 5 * 10**9


class Stored(NamedTuple):
  """Where a tensor lies.

  Attributes:
    file: The file.
    dtype: Its dtype.
    shape: Its shape.
    offset: Of its first byte in the file.
  """

  file: pathlib.Path
  dtype: np.dtype
  shape: tuple[int, ...]
  offset: int

  def read(self) -> Shaped[np.ndarray, '...']:
    """The tensor, mapped from the file: pages are read as they are touched."""
    if not math.prod(self.shape):
      return np.zeros(self.shape, self.dtype)
    return np.memmap(self.file, self.dtype, 'r', self.offset, self.shape)


def stored_tensors(folder: pathlib.Path) -> dict[str, Stored]:
  """The tensors of a folder, by name.

  Args:
    folder: It holds `model.safetensors`, or several files and the index that lists
      them, as Hugging Face writes them.

  Returns:
    Name → where it lies.

  Raises:
    ValueError: if there is no such file, one is damaged, or the weights are pickled.
  """
  if (folder / INDEX).is_file():
    files = set(json.loads((folder / INDEX).read_text())['weight_map'].values())
  elif (folder / SINGLE).is_file():
    files = {SINGLE}
  else:
    raise ValueError(_no_weights(folder))
  tensors: dict[str, Stored] = {}
  for name in sorted(files):
    tensors |= _read_header(folder / name)
  return tensors


def write_tensors(
  folder: pathlib.Path,
  tensors: Mapping[str, tuple[tuple[int, ...], np.dtype]],
  read: Callable[[str], np.ndarray],
) -> None:
  """Writes tensors to a folder, in files of at most 5 GB, holding one at a time.

  Args:
    folder: Where to; earlier weights in it are replaced.
    tensors: Name → shape and dtype.
    read: Gives the tensor of a name.
  """
  shards = _shards(tensors)
  total = len(shards)
  names = [f'model-{i + 1:05}-of-{total:05}.safetensors' for i in range(total)]
  names = names if total > 1 else [SINGLE]
  for file, shard in zip(names, shards, strict=True):
    _write_file(folder / file, {name: tensors[name] for name in shard}, read)
  where = {n: f for f, shard in zip(names, shards, strict=True) for n in shard}
  (folder / INDEX).unlink(missing_ok=True)
  if total > 1:
    size = sum(map(_nbytes, tensors.values()))
    index = {'metadata': {'total_size': size}, 'weight_map': where}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + '\n')
  for old in folder.glob('model*.safetensors'):
    if old.name not in names:
      old.unlink()


def _no_weights(folder: pathlib.Path) -> str:
  kinds = ('*.bin', '*.pt', '*.pth', '*.ckpt')
  pickles = sorted(file.name for kind in kinds for file in folder.glob(kind))
  if not pickles:
    return f'{folder} holds no weights: there is no {SINGLE} and no {INDEX}.'
  return (
    f'{folder} holds its weights as a pickle ({", ".join(pickles)}), and opening a '
    'pickle runs whatever code is in it. If you trust where it comes from, convert it '
    "once: `state = torch.load(file, weights_only=True, map_location='cpu')`, then "
    '`safetensors.torch.save_model` or `save_file({k: v.contiguous().clone() for k, v '
    f"in state.items()}}, '{SINGLE}')`."
  )


def _read_header(file: pathlib.Path) -> dict[str, Stored]:
  damaged = f'{file} is not a safetensors file, or is cut off: '
  if not file.is_file():
    raise ValueError(f'{file} is missing; {INDEX} lists it.')
  size = file.stat().st_size
  with file.open('rb') as opened:
    (length,) = struct.unpack('<Q', opened.read(8).ljust(8, b'\xff'))
    if length > size - 8:
      raise ValueError(f'{damaged}its header does not fit in its {size} bytes.')
    try:
      header = json.loads(opened.read(length))
    except ValueError as error:
      raise ValueError(f'{damaged}{error}.') from error
  header.pop('__metadata__', None)
  return {
    name: _stored(file, name, row, 8 + length, size) for name, row in header.items()
  }


def _stored(
  file: pathlib.Path, name: str, row: Mapping[str, Any], start: int, size: int
) -> Stored:
  if row['dtype'] not in _DTYPES:
    raise ValueError(
      f'{file}: {name} is of dtype {row["dtype"]}; readable are {", ".join(_DTYPES)}. '
      'Quantized weights have to be written out in one of these first.'
    )
  dtype, shape = _DTYPES[row['dtype']], tuple(row['shape'])
  first, end = row['data_offsets']
  if end - first != math.prod(shape) * dtype.itemsize or start + end > size:
    raise ValueError(f'{file} is cut off or damaged: {name} does not fit in it.')
  return Stored(file, dtype, shape, start + first)


def _nbytes(tensor: tuple[tuple[int, ...], np.dtype]) -> int:
  return math.prod(tensor[0]) * tensor[1].itemsize


def _shards(tensors: Mapping[str, Any]) -> list[list[str]]:
  """Names in their order, cut where a file would grow too large."""
  shards: list[list[str]] = [[]]
  room = _SHARD_BYTES
  for name, tensor in tensors.items():
    if shards[-1] and _nbytes(tensor) > room:
      shards.append([])
      room = _SHARD_BYTES
    shards[-1].append(name)
    room -= _nbytes(tensor)
  return shards


def _write_file(
  file: pathlib.Path, tensors: Mapping[str, Any], read: Callable[[str], np.ndarray]
) -> None:
  header: dict[str, Any] = {'__metadata__': {'format': 'pt'}}  # As transformers asks.
  offset = 0
  for name, (shape, dtype) in tensors.items():
    end = offset + _nbytes((shape, dtype))
    header[name] = {
      'dtype': _NAMES[dtype],
      'shape': [*shape],
      'data_offsets': [offset, end],
    }
    offset = end
  text = json.dumps(header).encode()
  text += b' ' * (-len(text) % 8)  # The data is aligned.
  unfinished = file.with_name(f'{file.name}.unfinished')
  with unfinished.open('wb') as opened:
    opened.write(struct.pack('<Q', len(text)) + text)
    opened.writelines(_chunks(tensors, read))
  os.replace(unfinished, file)


def _chunks(
  tensors: Mapping[str, Any], read: Callable[[str], np.ndarray]
) -> Iterable[memoryview | bytes]:
  for name, (shape, dtype) in tensors.items():
    tensor = np.ascontiguousarray(read(name), dtype)
    if tensor.shape != shape:
      raise ValueError(f'{name} has shape {tensor.shape}, announced was {shape}.')
    yield tensor.view(np.uint8).data
