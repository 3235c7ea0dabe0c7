"""Models on disk, ours and others', and on a hub: safetensors, never pickles."""

from collections.abc import Callable, Iterable
from importlib import resources
import json
import os
import pathlib
import re
from typing import Any

import jax
import numpy as np

from interp_jax.core import unknown
from interp_jax.models.config import TransformerConfig
from interp_jax.models.published import (
  by_path,
  open_published,
  parameter_shapes,
  save_published,
)
from interp_jax.models.streaming import Read, read_as_is, read_params, read_rows
from interp_jax.models.tensor_files import stored_tensors, write_tensors
from interp_jax.models.tokenizer import NoTokenizer, Tokenizer
from interp_jax.models.transformer import Transformer, init_params

FORMAT = 'interp_jax.model/1'
_HUB_FILES = ('*.json', '*.safetensors', '*.txt', '*.model')


def list_models() -> list[str]:
  """Names of the embedded models, for `load`."""
  folder = _embedded()
  if not folder.is_dir():
    return []
  return sorted(p.name for p in folder.iterdir() if (p / 'config.json').is_file())


def load(
  name_or_path: str | os.PathLike,
  dtype: str | None = None,
  *,
  shardings: Callable[[Any], Any] | None = None,
  ignore_fields: Iterable[str] = (),
  revision: str | None = None,
) -> tuple[Transformer, dict[str, Any], Tokenizer]:
  """Reads a model: embedded, saved by `save`, or published by others.

  Published models are Hugging Face's of the families in `interp_jax.models.families`
  and TransformerLens's own; weights are safetensors, in one file or several.

  Args:
    name_or_path: One of `list_models()`, a folder, or the name of a repository on the
      Hugging Face hub, `owner/name` (this needs the extra `hub` and a network).
    dtype: Dtype to compute in and to hold the parameters in, e.g. 'bfloat16'; None
      for 'float32'. (Norms' gains and biases are held in float32 at least.)
    shardings: From the parameters' shapes, a pytree of shardings of the same structure:
      where each goes. Every process reads what its own devices need. None for the
      default device.
    ignore_fields: Fields of the config.json that are not known here and that you know
      to change nothing.
    revision: Branch, tag or commit of a repository on the hub.

  Returns:
    `model, params, tokenizer`, for `model.apply({'params': params}, tokens)`. In the
    place of a tokenizer that the folder lacks stands one that says so when it is used.

  Raises:
    ValueError: if there is no such model, its weights are pickled, or its architecture,
      a field of its config.json or one of its tensors is not known.
  """
  folder = _find(name_or_path, revision)
  if dtype == 'float64' and not jax.config.read('jax_enable_x64'):
    raise ValueError(
      "load: dtype='float64' needs jax.config.update('jax_enable_x64', True) first."
    )
  if 'format' in json.loads((folder / 'config.json').read_text()):
    cfg, read = _open_own(folder, dtype)
  else:
    given = dtype or 'float32'
    options = {'dtype': given, 'param_dtype': given}
    published = open_published(folder, ignore_fields, **options)
    cfg, read = published.cfg, read_rows(published.plan, published.stored)
  shapes = _shapes(cfg)
  params = read_params(shapes, (shardings or _one_device)(shapes), read)
  file = folder / 'tokenizer.json'
  tokenizer = Tokenizer.from_file(file) if file.is_file() else NoTokenizer(folder)
  return Transformer(cfg), params, tokenizer


def save(
  path: str | os.PathLike,
  cfg: TransformerConfig,
  params: dict[str, Any],
  tokenizer: Tokenizer,
  dtype: str = 'bfloat16',
) -> None:
  """Writes a model in our own format, which has a place for every option.

  Args:
    path: The folder; made if it does not exist.
    cfg: The model's config.
    params: Its parameters.
    tokenizer: Its tokenizer.
    dtype: Dtype of the written weights.
  """
  folder = pathlib.Path(path)
  folder.mkdir(parents=True, exist_ok=True)
  leaves = {_own_name(path): leaf for path, leaf in by_path(params).items()}
  tensors = {name: (leaf.shape, np.dtype(dtype)) for name, leaf in leaves.items()}
  write_tensors(folder, tensors, lambda name: np.asarray(leaves[name]))
  fields = {'format': FORMAT, **cfg.to_dict()}
  (folder / 'config.json').write_text(json.dumps(fields, indent=2) + '\n')
  tokenizer.save(folder / 'tokenizer.json')


def save_like(
  path: str | os.PathLike,
  model: Transformer,
  params: dict[str, Any],
  like: str | os.PathLike,
  dtype: str | None = None,
  ignore_fields: Iterable[str] = (),
) -> None:
  """Writes a model for other libraries, in the layout that it was loaded from.

  An edited model runs in transformers like this:

      model, params, _ = interp_jax.load('path/to/gpt2')
      ...  # Edit params.
      models.save_like('path/to/edited', model, params, like='path/to/gpt2')

  Args:
    path: The folder; made if it does not exist.
    model: The model that was loaded.
    params: Its parameters, edited.
    like: The folder that it was loaded from; its config.json, its tokenizer and the
      names of its tensors are kept. Tensors that change nothing (buffers, copies of
      tied weights, other heads) are left out.
    dtype: Dtype of the written weights; None for what they are in `like`.
    ignore_fields: As in `load`.

  Raises:
    ValueError: if the model's config is not that of `like`, as after `process`.
  """
  source = _find(like, None)
  save_published(pathlib.Path(path), model, params, source, dtype, ignore_fields)


def _open_own(
  folder: pathlib.Path, dtype: str | None
) -> tuple[TransformerConfig, Read]:
  fields = json.loads((folder / 'config.json').read_text())
  if fields.pop('format') != FORMAT:
    raise ValueError(
      f'{folder}/config.json is not of the format {FORMAT!r}, which '
      'interp_jax.models.save writes; a newer version of the package may read it.'
    )
  if dtype is not None:
    fields |= {'dtype': dtype, 'param_dtype': dtype}
  cfg = TransformerConfig.from_dict(fields)
  stored = stored_tensors(folder)
  wanted = {_own_name(path): s for path, s in parameter_shapes(cfg).items()}
  if stored.keys() != wanted.keys():
    raise ValueError(
      f'{folder} does not fit its config: it lacks '
      f'{sorted(wanted.keys() - stored.keys())} and has '
      f'{sorted(stored.keys() - wanted.keys())} beyond.'
    )
  for name, shape in wanted.items():
    if stored[name].shape != shape:
      raise ValueError(
        f'{folder}: {name} has shape {stored[name].shape}, the config asks for {shape}.'
      )
  return cfg, read_as_is(stored)


def _embedded() -> pathlib.Path:
  return pathlib.Path(str(resources.files('interp_jax.models'))) / 'embedded'


def _find(name_or_path: str | os.PathLike, revision: str | None) -> pathlib.Path:
  if isinstance(name_or_path, str) and name_or_path in list_models():
    return _embedded() / name_or_path
  folder = pathlib.Path(name_or_path)
  if not folder.is_dir():
    if re.fullmatch(r'[\w.-]+/[\w.-]+', os.fspath(name_or_path)):
      folder = _download(os.fspath(name_or_path), revision)
    else:
      raise ValueError(
        unknown('model', os.fspath(name_or_path), list_models())
        + ' Or give a folder, or the owner/name of a repository on the hub.'
      )
  if not (folder / 'config.json').is_file():
    raise ValueError(f'{folder} lacks config.json; a model folder holds one.')
  return folder


def _download(name: str, revision: str | None) -> pathlib.Path:
  """The local copy of a repository on the hub, without its pickles."""
  try:
    import huggingface_hub
  except ImportError as error:
    raise ValueError(
      f'There is no folder {name!r}. To load it from the Hugging Face hub, install the '
      "extra: pip install 'interp_jax[hub]'."
    ) from error
  try:
    return pathlib.Path(
      huggingface_hub.snapshot_download(
        name, revision=revision, allow_patterns=[*_HUB_FILES]
      )
    )
  except (
    Exception
  ) as error:  # It raises many kinds: of the network, of rights, of names.
    raise ValueError(
      f'There is no folder {name!r}, and the Hugging Face hub did not give it: {error}'
    ) from error


def _shapes(cfg: TransformerConfig) -> Any:
  return jax.eval_shape(lambda: init_params(Transformer(cfg)))


def _one_device(shapes: Any) -> Any:
  device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  return jax.tree.map(lambda _: device, shapes)


def _own_name(path: str) -> str:
  """The tensor's name in our own format."""
  return path.replace('/', '.')
