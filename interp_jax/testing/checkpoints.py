"""Checkpoints of random weights in the layouts of published models."""

from collections.abc import Mapping
import json
import os
import pathlib
from typing import Any
import zlib

from jaxtyping import Shaped
import numpy as np

from interp_jax.models import TransformerConfig
from interp_jax.models.conversion import make_plan, places
from interp_jax.models.families import Fields, find_family
from interp_jax.models.published import parameter_shapes
from interp_jax.models.tensor_files import write_tensors


def random_checkpoint(
  path: str | os.PathLike,
  config: Mapping[str, Any],
  seed: int = 0,
  dtype: str = 'float32',
) -> pathlib.Path:
  """Writes a folder that `models.load`, and transformers, read like a published model.

  Args:
    path: The folder; made if it does not exist.
    config: The config.json; its `model_type` chooses the family.
    seed: Of the draws.
    dtype: Of the weights.

  Returns:
    The folder.

  Raises:
    ValueError: if the config is not one of a known family.
  """
  folder = pathlib.Path(path)
  family = find_family(config['model_type'])
  cfg = TransformerConfig(**family.config(Fields(config), frozenset()))
  plan = make_plan(family.rows(cfg), parameter_shapes(cfg), cfg)
  found = places(plan, cfg)
  tensors = {name: (own[0].shape, np.dtype(dtype)) for name, own in found.items()}

  def draw(name: str) -> Shaped[np.ndarray, '...']:
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    values = 0.02 * rng.standard_normal(tensors[name][0], np.float32)
    is_gain = found[name][0].path.endswith('/w')
    return values + np.float32(is_gain)

  folder.mkdir(parents=True, exist_ok=True)
  (folder / 'config.json').write_text(json.dumps(dict(config), indent=2) + '\n')
  write_tensors(folder, tensors, draw)
  return folder
