"""Models on disk: `config.json`, `model.safetensors`, `tokenizer.json`; no pickles.

`load` takes the name of an embedded model or a folder that `save` wrote.
"""

from importlib import resources
import json
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import unknown
from interp_jax.models.config import TransformerConfig
from interp_jax.models.tokenizer import Tokenizer
from interp_jax.models.transformer import Transformer, init_params

FORMAT = 'interp_jax.model/1'


def list_models() -> list[str]:
  """Names of the embedded models, for `load`."""
  folder = _embedded()
  if not folder.is_dir():
    return []
  return sorted(p.name for p in folder.iterdir() if (p / 'config.json').is_file())


def load(
  name_or_path: str | os.PathLike, dtype: str | None = None
) -> tuple[Transformer, dict[str, Any], Tokenizer]:
  """Reads a model.

  Args:
    name_or_path: One of `list_models()`, or a folder that `save` wrote.
    dtype: Dtype to compute in and to hold the parameters in, e.g. 'bfloat16'; None
      for the dtype of the config, 'float32' for the embedded models.

  Returns:
    `model, params, tokenizer`, for `model.apply({'params': params}, tokens)`.

  Raises:
    ValueError: if there is no such model, or the folder does not hold one.
  """
  folder = _find(name_or_path)
  fields = json.loads((folder / 'config.json').read_text())
  if fields.pop('format', None) != FORMAT:
    raise ValueError(
      f'{folder}/config.json is not of the format {FORMAT!r}, which '
      'interp_jax.models.save writes.'
    )
  if dtype is not None:
    fields |= {'dtype': dtype, 'param_dtype': dtype}
  cfg = TransformerConfig.from_dict(fields)
  params = _read_params(folder / 'model.safetensors', cfg)
  return Transformer(cfg), params, Tokenizer.from_file(folder / 'tokenizer.json')


def save(
  path: str | os.PathLike,
  cfg: TransformerConfig,
  params: dict[str, Any],
  tokenizer: Tokenizer,
  dtype: str = 'bfloat16',
) -> None:
  """Writes a model that `load` reads.

  Args:
    path: The folder; made if it does not exist.
    cfg: The model's config.
    params: Its parameters.
    tokenizer: Its tokenizer.
    dtype: Dtype of the written weights.
  """
  from safetensors.flax import save_file

  folder = pathlib.Path(path)
  folder.mkdir(parents=True, exist_ok=True)
  tensors = {k: jnp.asarray(v, dtype) for k, v in _flatten(params).items()}
  save_file(tensors, folder / 'model.safetensors')
  fields = {'format': FORMAT, **cfg.to_dict()}
  (folder / 'config.json').write_text(json.dumps(fields, indent=2) + '\n')
  tokenizer.save(folder / 'tokenizer.json')


def _embedded() -> pathlib.Path:
  return pathlib.Path(str(resources.files('interp_jax.models'))) / 'embedded'


def _find(name_or_path: str | os.PathLike) -> pathlib.Path:
  if isinstance(name_or_path, str) and name_or_path in list_models():
    return _embedded() / name_or_path
  folder = pathlib.Path(name_or_path)
  if not folder.is_dir():
    raise ValueError(
      unknown('model', os.fspath(name_or_path), list_models())
      + ' Or give a folder that interp_jax.models.save wrote.'
    )
  needed = ('config.json', 'model.safetensors', 'tokenizer.json')
  missing = [file for file in needed if not (folder / file).is_file()]
  if missing:
    raise ValueError(
      f'{folder} lacks {", ".join(missing)}; a model folder holds {", ".join(needed)}.'
    )
  return folder


def _flatten(params: dict[str, Any]) -> dict[str, Any]:
  leaves = jax.tree_util.tree_leaves_with_path(params)
  return {
    jax.tree_util.keystr(path, simple=True, separator='.'): leaf
    for path, leaf in leaves
  }


def _read_params(path: pathlib.Path, cfg: TransformerConfig) -> dict[str, Any]:
  from safetensors import SafetensorError, safe_open

  shapes = jax.eval_shape(lambda: init_params(Transformer(cfg)))
  wanted = _flatten(shapes)
  try:
    opened = safe_open(path, framework='flax')
  except SafetensorError as error:
    raise ValueError(f'{path} is not a safetensors file: {error}.') from error
  with opened as file:
    given = set(file.keys())
    if given != set(wanted):
      raise ValueError(
        f'{path} does not fit its config: it lacks {sorted(set(wanted) - given)} and '
        f'has {sorted(given - set(wanted))} beyond.'
      )
    leaves = {name: file.get_tensor(name) for name in wanted}
  for name, leaf in leaves.items():
    if leaf.shape != wanted[name].shape:
      raise ValueError(
        f'{path}: {name} has shape {leaf.shape}, the config asks for '
        f'{wanted[name].shape}.'
      )
  ordered = [np.asarray(leaves[name]).astype(cfg.param_dtype) for name in wanted]
  return jax.tree.map(jnp.asarray, jax.tree.structure(shapes).unflatten(ordered))
