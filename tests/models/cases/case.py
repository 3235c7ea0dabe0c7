"""What a case is, and how its folder is made.

Weights are drawn from the tensors' names, so that nobody has to store them.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import pathlib
from typing import Any
import zlib

import numpy as np
import safetensors.numpy

LENGTH = 13


@dataclasses.dataclass(frozen=True)
class Case:
  """One tiny model.

  Attributes:
    name: Its name: the family's, and what is special.
    fields: Of the config.json.
    verbatim: Whether the config.json has these fields only.
    renames: Regex → replacement, from today's tensor names to those in the file.
    extras: Tensors of the file that are no parameters: name → arguments of `draw`.
    architecture: The class that writes it, where it is not the causal language model.
  """

  name: str
  fields: Mapping[str, Any]
  verbatim: bool = False
  renames: Mapping[str, str] = dataclasses.field(default_factory=dict)
  extras: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
  architecture: str = ''

  @property
  def model_type(self) -> str:
    """The field of that name."""
    return self.fields['model_type']

  @property
  def is_encoder(self) -> bool:
    """Whether tokens see later ones."""
    return self.model_type == 'bert'


def draw(
  name: str, shape: Sequence[int], dtype: str = 'F32', copy_of: str = ''
) -> np.ndarray:
  """The values of a tensor: uniform, by a stream that stays what it is.

  Args:
    name: The tensor's name; a seed, and norms' gains are around 1.
    shape: Its shape.
    dtype: As in the header of a safetensors file; integers and booleans are all 1.
    copy_of: Name of a tensor that this one is a copy of.

  Returns:
    The values.
  """
  name = copy_of or name
  size = int(np.prod(shape))
  if dtype != 'F32':
    return np.ones(shape, {'BOOL': bool, 'U8': np.uint8, 'I64': np.int64}[dtype])
  # Raw bits of a bit generator are the same in every version of numpy.
  bits = np.random.PCG64(zlib.crc32(name.encode())).random_raw(size)
  unit = ((bits >> 11) * 2.0**-53 - 0.5) * 12**0.5
  gain = 0.6 * (len(shape) == 1 and name.endswith(('weight', 'gamma', '.w')))
  scale = 0.2 if len(shape) > 1 else 0.3
  return (unit * scale + gain).reshape(shape).astype(np.float32)


def tokens_of(case_name: str, vocabulary: int = 61, rows: int = 2) -> np.ndarray:
  """Tokens `[rows, LENGTH]` for a case, none of them special."""
  bits = np.random.PCG64(zlib.crc32(case_name.encode())).random_raw(rows * LENGTH)
  return (3 + bits % (vocabulary - 3)).reshape(rows, LENGTH).astype(np.int32)


def write_checkpoint(
  folder: pathlib.Path,
  config: Mapping[str, Any],
  tensors: Mapping[str, Sequence[Any]],
) -> pathlib.Path:
  """Writes config.json and model.safetensors.

  Args:
    folder: Where to; made if it does not exist.
    config: Fields of the config.json.
    tensors: Name → the other arguments of `draw`.

  Returns:
    The folder.
  """
  folder.mkdir(parents=True, exist_ok=True)
  (folder / 'config.json').write_text(json.dumps(config, indent=2) + '\n')
  values = {name: draw(name, *tensor) for name, tensor in tensors.items()}
  safetensors.numpy.save_file(
    values, folder / 'model.safetensors', metadata={'format': 'pt'}
  )
  return folder


def now(model_type: str, common: Mapping[str, Any], **cases: Any) -> list[Case]:
  """Cases of today, which differ from what those of the family have in common."""
  made = []
  for name, fields in cases.items():
    fields = dict(fields)
    architecture = fields.pop('architecture', '')
    fields = {'model_type': model_type, **common, **fields}
    title = f'{model_type}-{name.replace("_", "-")}'
    made.append(Case(title, fields, architecture=architecture))
  return made


def then(
  name: str,
  fields: Mapping[str, Any],
  renames: Mapping[str, str] | None = None,
  extras: Mapping[str, Sequence[Any]] | None = None,
) -> Case:
  """A case of the past: this is all that its config.json says."""
  return Case(name, fields, True, renames or {}, extras or {})


def buffers(layers: int, **shapes: tuple[tuple[int, ...], str]) -> dict[str, Any]:
  """Tensors of every layer, `{}` in the name."""
  return {
    name.format(layer): tensor
    for layer in range(layers)
    for name, tensor in shapes.items()
  }


def rope(kind: str = 'default', theta: float = 10_000.0, **more: Any) -> dict:
  """Rotary parameters, as transformers 5 has them."""
  return {'rope_parameters': {'rope_type': kind, 'rope_theta': theta, **more}}
