"""What is kept of transformers for a case, and how it lies in `golden/`.

A file holds the config.json, the tensors' names and shapes (their values are drawn from
the names), and some of the float64 numbers that transformers gives.
"""

import base64
from collections.abc import Mapping
import json
import pathlib
import re
from typing import Any

import numpy as np

from tests.models import published

FOLDER = pathlib.Path(__file__).parent / 'golden'
# Row and position of the logits and of the hidden state that are kept.
KEPT = (1, published.LENGTH - 1)


def write(
  name: str, fields: Mapping[str, Any], tensors: Mapping[str, Any], **arrays: Any
) -> None:
  """Writes a case's file."""
  kept = {'config': dict(fields), 'tensors': _folded(tensors)}
  kept |= {key: _pack(array[KEPT]) for key, array in arrays.items()}
  text = json.dumps(kept, separators=(',', ':'))
  (FOLDER / f'{name}.json').write_text(text + '\n')


def read(name: str) -> dict[str, Any]:
  """The config.json ('config'), tensors, and arrays of a case, as they were written."""
  kept = json.loads((FOLDER / f'{name}.json').read_text())
  kept['tensors'] = _unfolded(kept['tensors'])
  for key in kept.keys() - {'config', 'tensors'}:
    numbers = np.frombuffer(base64.b64decode(kept[key]), '<f8')
    kept[key] = numbers
  return kept


def make_checkpoint(name: str, folder: pathlib.Path) -> pathlib.Path:
  """Writes a case's folder, as transformers does, without it."""
  kept = read(name)
  return published.write_checkpoint(folder, kept['config'], kept['tensors'])


def compare(array: Any, kept: np.ndarray) -> float:
  """The largest difference from what is kept."""
  return float(np.abs(np.asarray(array)[KEPT] - kept).max())


def _pack(array: np.ndarray) -> str:
  return base64.b64encode(np.ascontiguousarray(array, '<f8')).decode()


def _folded(tensors: Mapping[str, Any]) -> dict[str, Any]:
  """Tensors of all layers (and experts) in one entry, with how many there are."""
  folded: dict[str, Any] = {}
  for name, args in tensors.items():
    index = [int(i) + 1 for i in re.findall(r'(?<=\.)\d+(?=\.)', name)]
    pattern = re.sub(r'(?<=\.)\d+(?=\.)', '#', name)
    most = folded.get(pattern, [index])[0]
    folded[pattern] = [[max(pair) for pair in zip(index, most, strict=True)], *args]
  if _unfolded(folded) != {name: [*args] for name, args in tensors.items()}:
    raise ValueError('Tensors of one name differ by layer; they cannot be folded.')
  return folded


def _unfolded(folded: Mapping[str, Any]) -> dict[str, list[Any]]:
  tensors = {}
  for pattern, (counts, *args) in folded.items():
    for index in np.ndindex(*counts):
      numbers = map(str, index)
      name = re.sub('#', lambda _, numbers=numbers: next(numbers), pattern)
      tensors[name] = [[*args[0]], *args[1:]]
  return tensors
