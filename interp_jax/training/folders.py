"""Trained things on disk: a folder of safetensors with what they are beside it in JSON.

Weights are written whole or not at all. What a folder may hold is the reader's matter.
"""

from collections.abc import Mapping
import json
import os
import pathlib
from typing import Any

import numpy as np

WEIGHTS, CONFIG = 'model.safetensors', 'config.json'


def write_folder(
  path: str | os.PathLike[str], tensors: Mapping[str, Any], content: dict[str, Any]
) -> None:
  """Writes a folder of `model.safetensors` and `config.json`.

  Args:
    path: the folder; it is made if it is not there.
    tensors: arrays by name.
    content: what they are, as JSON types, its `format` among it.
  """
  from safetensors.numpy import save_file

  folder = pathlib.Path(path)
  folder.mkdir(parents=True, exist_ok=True)
  partial = folder / (WEIGHTS + '.partial')
  save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, partial)
  partial.replace(folder / WEIGHTS)
  (folder / CONFIG).write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')


def read_folder(
  path: str | os.PathLike[str],
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Reads such a folder.

  Args:
    path: the folder.

  Returns:
    The arrays by name, and what they are.

  Raises:
    FileNotFoundError: if a file is missing.
  """
  from safetensors.numpy import load_file

  folder = pathlib.Path(path)
  content = json.loads((folder / CONFIG).read_text(encoding='utf-8'))
  return load_file(folder / WEIGHTS), content
