"""Probes on disk: a folder of safetensors and JSON."""

from collections.abc import Mapping
import json
import os
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from interp_jax.probes.probe import Probes

FORMAT = 'interp_jax.probes/1'
WEIGHTS, CONFIG = 'model.safetensors', 'config.json'


def save_probes(
  path: str | os.PathLike[str],
  probes: Probes,
  metadata: Mapping[str, Any] | None = None,
) -> None:
  """Writes probes as a folder of `model.safetensors` and `config.json`.

  Args:
    path: The folder; it is made if it is not there.
    probes: The probes.
    metadata: JSON to keep with them: what questions and classes mean, of which model
      and site the activations are.
  """
  from safetensors.numpy import save_file

  folder = pathlib.Path(path)
  folder.mkdir(parents=True, exist_ok=True)
  tensors = probes.params | {'mean': probes.mean, 'scale': probes.scale}
  partial = folder / (WEIGHTS + '.partial')
  save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, partial)
  partial.replace(folder / WEIGHTS)
  content = {'format': FORMAT, 'kind': probes.kind, 'metadata': dict(metadata or {})}
  (folder / CONFIG).write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')


def load_probes(path: str | os.PathLike[str]) -> tuple[Probes, dict[str, Any]]:
  """Reads the probes that `save_probes` wrote, with their metadata.

  Args:
    path: The folder.

  Returns:
    The probes and the metadata.

  Raises:
    FileNotFoundError: if a file is missing.
    ValueError: if the folder holds something else.
  """
  from safetensors.numpy import load_file

  folder = pathlib.Path(path)
  content = json.loads((folder / CONFIG).read_text(encoding='utf-8'))
  tensors = {k: jnp.asarray(v) for k, v in load_file(folder / WEIGHTS).items()}
  names = {'W_out', 'b_out', 'mean', 'scale'}
  if content.get('kind') == 'mlp':
    names |= {'W_in', 'b_in'}
  if content.get('format') != FORMAT or set(tensors) != names:
    raise ValueError(
      f'{folder} holds no probes: its format is {content.get("format")!r}, not '
      f'{FORMAT!r}, or its tensors {sorted(tensors)} are not {sorted(names)}.'
    )
  mean, scale = tensors.pop('mean'), tensors.pop('scale')
  return Probes(tensors, mean, scale), content['metadata']
