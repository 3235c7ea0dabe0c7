"""Gemma Scope (2408.05147) and Gemma Scope 2: JumpReLU dictionaries of Gemma 2 and 3.

The first is `layer_20/width_16k/average_l0_71/params.npz`, keys `W_enc` or `w_enc`; the
second `.../layer_20_width_16k_l0_big/params.safetensors` with an optional config.json,
and for cross-layer transcoders a `layer_3_....safetensors` of each layer. `b_dec` is
not subtracted from inputs. What files do not say, the names of the folders do: keep
them, or give `site=` and `layer=`.

Dictionaries of the embedding were trained on embeddings divided by the root of the
width, and are read for embeddings as the model has them (`b_dec` stays what it is, as
in SAELens). Those of attention read all
heads of `z` as one. A transcoder reads what the norm before the MLP gives,
`ln2.normalized`, and writes `mlp_out`.
"""

from collections.abc import Sequence
import pathlib
import re
from typing import Any

import jax.numpy as jnp

from interp_jax.core import Fields
from interp_jax.dictionaries.activation import JumpReLU
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.cross_layer import CrossLayerTranscoder
from interp_jax.dictionaries.dictionary import Dictionary
from interp_jax.dictionaries.formats.files import (
  files_like,
  layer_in,
  match,
  metadata_of,
  natural,
)
from interp_jax.dictionaries.formats.format import (
  Facts,
  Format,
  Found,
  Row,
  features_of,
  open_tensors,
  rows,
  unit_factor,
)
from interp_jax.dictionaries.formats.names import site_of_module
from interp_jax.dictionaries.formats.stored import (
  Stored,
  Tensors,
  check_shapes,
  from_npz,
  from_safetensors,
)
from interp_jax.dictionaries.wiring import Autoencoder, Transcoder

_SKIP = 'affine_skip_connection'
# Of folders, from the innermost on: the first that says what a dictionary is of.
_SITES = (
  (r'embedding', 'embed'),
  (r'transcoder.*|clt.*|.*gemma-scope.*-transcoders', 'transcoder'),
  (r'resid_post.*|.*gemma-scope.*-res', 'resid_post'),
  (r'attn_out.*|.*gemma-scope.*-att', 'z'),
  (r'mlp_out.*|.*gemma-scope.*-mlp', 'mlp_out'),
)


def find(path: pathlib.Path) -> list[pathlib.Path]:
  """Parameters of single dictionaries, and folders of cross-layer transcoders."""
  files = files_like(path, 'params.npz', 'params.safetensors')
  if path.is_dir():
    folders = {file.parent for file in path.rglob('*layer_*.safetensors')}
    files += [folder for folder in sorted(folders) if _groups(folder)]
  return files


def _groups(folder: pathlib.Path) -> list[pathlib.Path]:
  """The files, a layer each, of a cross-layer transcoder in a folder."""
  files = sorted(folder.glob('*layer_*.safetensors'), key=natural)
  return files if files and 'w_enc' in from_safetensors(files[0]) else []


def read(path: pathlib.Path, facts: Facts) -> Found:
  """One dictionary, or one cross-layer transcoder."""
  if path.is_dir():
    return _read_cross_layer(path, facts)
  tensors = from_npz(path) if path.suffix == '.npz' else from_safetensors(path)
  tensors = {re.sub('^w_', 'W_', name): tensor for name, tensor in tensors.items()}
  where, kind = str(path), _kind(path)
  if 'W_enc' in tensors and len(tensors['W_enc'].shape) == 3:
    return _cross_layer(where, _unstacked(tensors), facts)
  raw, site, out_site, layer = _described(path, kind, facts)
  width = features_of(where, tensors, 'W_enc', 0)
  features = features_of(where, tensors, 'W_enc', 1)
  out = features_of(where, tensors, 'W_dec', 1)
  skip = _SKIP in tensors
  is_transcoder = skip or out_site is not None or out != width
  config = DictionaryConfig(
    width,
    features,
    JumpReLU(),
    Transcoder(out, skip) if is_transcoder else Autoencoder(subtract_b_dec=False),
    **facts.place(site, layer, out_site),
    joins_heads=(facts.site or site) == 'z',
  )
  table = rows('W_enc b_enc W_dec b_dec threshold')
  table += [Row(_SKIP, 'W_skip')] if skip else []
  unused = unit_factor(where, tensors)
  load = open_tensors(where, tensors, table, config, unused)

  def build() -> Dictionary:
    params = load()
    if kind == 'embed':
      root = width**0.5
      params |= {'W_enc': params['W_enc'] / root, 'W_dec': params['W_dec'] * root}
    return Dictionary(params, config)

  return Found(metadata_of('gemma_scope', raw, _model(path, raw), 1024), build)


def _kind(path: pathlib.Path) -> str | None:
  for part in reversed(path.parts):
    for pattern, site in _SITES:
      if re.fullmatch(pattern, part):
        return site
  return None


def _described(
  path: pathlib.Path, kind: str | None, facts: Facts
) -> tuple[dict[str, Any], str | None, str | None, int | None]:
  """The config, and from it or from the path: site read, site written, layer."""
  layer = None if kind == 'embed' else layer_in(path)
  site, out_site = kind, None
  if kind == 'transcoder':
    site, out_site = 'ln2.normalized', 'mlp_out'
  file = path.parent / 'config.json'
  if path.suffix == '.npz' or not file.is_file():
    return {}, site, out_site, layer
  fields = Fields.read(file)
  fields.require('architecture', 'jump_relu', default='jump_relu')
  found, at = site_of_module(fields.take('hf_hook_point_in'))
  written, _ = site_of_module(fields.take('hf_hook_point_out'))
  if found is not None:
    site, layer = found, at
    out_site = written if written != found else None
  fields.ignore('model_name', 'width', 'l0', 'affine_connection', 'type')
  fields.finish(facts.ignore_fields)
  return fields.values, site, out_site, layer


def _model(path: pathlib.Path, raw: dict[str, Any]) -> str | None:
  if 'model_name' in raw:
    return raw['model_name']
  size = match(r'gemma-scope-(\d+b-(?:pt|it))', path)
  return size and f'gemma-2-{size.removesuffix("-pt")}'


# Cross-layer transcoders


def _read_cross_layer(folder: pathlib.Path, facts: Facts) -> Found:
  """`w_enc [D, F]`, `w_dec [F, L, D]` and the rest in a file for each layer."""
  where, files = str(folder), _groups(folder)
  numbers = [layer_in(file.name) for file in files]
  if numbers != list(range(len(files))):
    raise ValueError(
      f'{where} holds layers {numbers}; a cross-layer transcoder has all from 0 on.'
    )
  return _cross_layer(where, [from_safetensors(file) for file in files], facts)


def _unstacked(tensors: Tensors) -> list[Tensors]:
  """The layers of a file that holds them all, with the layer as the first axis."""

  def layer_of(tensor: Stored, layer: int) -> Stored:
    return Stored(tensor.shape[1:], lambda: tensor.read()[layer])

  layers = tensors['W_enc'].shape[0]
  return [
    {name.lower(): layer_of(tensor, layer) for name, tensor in tensors.items()}
    for layer in range(layers)
  ]


def _cross_layer(where: str, parts: Sequence[Tensors], facts: Facts) -> Found:
  """From the tensors of each layer."""
  width = features_of(where, parts[0], 'w_enc', 0)
  features = features_of(where, parts[0], 'w_enc', 1)
  layers, skip = len(parts), _SKIP in parts[0]
  config = DictionaryConfig(
    width,
    features,
    JumpReLU(),
    CrossLayerTranscoder(layers, skip),
    site=facts.site or 'ln2.normalized',
    out_site='mlp_out',
  )
  shapes = {
    'w_enc': (width, features),
    'w_dec': (features, layers, width),
    'b_enc': (features,),
    'b_dec': (width,),
    'threshold': (features,),
  } | ({_SKIP: (width, width)} if skip else {})
  for layer, part in enumerate(parts):
    check_shapes(f'{where}, layer {layer},', part, shapes)

  def build() -> Dictionary:
    stack = lambda name: jnp.stack([jnp.asarray(part[name].read()) for part in parts])
    params: dict[str, Any] = {'W_enc': stack('w_enc')}
    # Decoders to earlier layers are in the files, and mean nothing.
    params['W_dec'] = {
      str(layer): jnp.asarray(part['w_dec'].read()[:, layer:])
      for layer, part in enumerate(parts)
    }
    params |= {name: stack(name) for name in ('b_enc', 'b_dec', 'threshold')}
    params |= {'W_skip': stack(_SKIP)} if skip else {}
    return Dictionary(params, config)

  return Found(metadata_of('gemma_scope', {}, None, 1024), build)


GEMMA_SCOPE = Format('gemma_scope', find, read)
