"""Probes on disk: a folder of safetensors and JSON."""

from collections.abc import Mapping
import os
from typing import Any

import jax.numpy as jnp

from interp_jax.probes.probe import Probes
from interp_jax.training.folders import read_folder, write_folder

FORMAT = 'interp_jax.probes/1'


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
  tensors = probes.params | {'mean': probes.mean, 'scale': probes.scale}
  content = {'format': FORMAT, 'kind': probes.kind, 'metadata': dict(metadata or {})}
  write_folder(path, tensors, content)


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
  arrays, content = read_folder(path)
  tensors = {name: jnp.asarray(array) for name, array in arrays.items()}
  names = {'W_out', 'b_out', 'mean', 'scale'}
  if content.get('kind') == 'mlp':
    names |= {'W_in', 'b_in'}
  if content.get('format') != FORMAT or set(tensors) != names:
    raise ValueError(
      f'{path} holds no probes: its format is {content.get("format")!r}, not '
      f'{FORMAT!r}, or its tensors {sorted(tensors)} are not {sorted(names)}.'
    )
  mean, scale = tensors.pop('mean'), tensors.pop('scale')
  return Probes(tensors, mean, scale), content['metadata']
