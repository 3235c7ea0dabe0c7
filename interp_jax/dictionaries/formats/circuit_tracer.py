"""circuit-tracer: per-layer and cross-layer transcoders, `config.yaml` beside them.

`layer_{i}.safetensors` are transcoders of a layer each, `W_enc_{i}.safetensors` and
`W_dec_{i}.safetensors` are the layers of one cross-layer transcoder. The matrices of
skip connections are transposed in the former and not in the latter. Layouts of others
that a config.yaml points to, by `transcoders`, are read by their own pages.
"""

from collections.abc import Mapping
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from interp_jax.core import Fields
from interp_jax.dictionaries.activation import JumpReLU, ReLU, TopK
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.cross_layer import CrossLayerTranscoder
from interp_jax.dictionaries.dictionary import Dictionary, flat, unflat
from interp_jax.dictionaries.formats.files import (
  files_like,
  layer_in,
  metadata_of,
  write_tensors,
)
from interp_jax.dictionaries.formats.format import (
  TRANSPOSED,
  Facts,
  Format,
  Found,
  Row,
  features_of,
  open_tensors,
  rows,
  tensors_for,
)
from interp_jax.dictionaries.formats.names import hook_kind, kind_of
from interp_jax.dictionaries.formats.stored import (
  Stored,
  check_shapes,
  from_safetensors,
)
from interp_jax.dictionaries.wiring import Transcoder

CONFIG = 'config.yaml'
_THRESHOLD = 'activation_function.threshold'
_ENCODERS = 'W_enc_[0-9]*.safetensors'


def find(path: pathlib.Path) -> list[pathlib.Path]:
  """Files of per-layer transcoders, and folders of cross-layer ones."""
  files = files_like(path, 'layer_[0-9]*.safetensors')
  files = [file for file in files if 'W_enc' in from_safetensors(file)]
  if path.is_dir():
    files += sorted({file.parent for file in path.rglob('W_enc_0.safetensors')})
  return files


def read(path: pathlib.Path, facts: Facts) -> Found:
  """One transcoder of a layer, or all layers of a cross-layer one."""
  fields = _config(path if path.is_dir() else path.parent)
  read_one = _read_cross_layer if path.is_dir() else _read_layer
  site = kind_of(fields.take('feature_input_hook'))
  out_site = kind_of(fields.take('feature_output_hook', 'hook_mlp_out'))
  activation = fields.take('activation')
  k = facts.k or fields.take('k') if activation == 'topk' else None
  fields.ignore('model_kind', 'model_name', 'scan', 'repo_id', 'revision', 'subfolder')
  fields.ignore('transcoders', 'k', 'features')
  fields.finish(facts.ignore_fields)
  build = read_one(path, facts, (site, out_site), k)
  model = fields.values.get('model_name')
  return Found(metadata_of('circuit_tracer', fields.values, model), build)


def _config(folder: pathlib.Path) -> Fields:
  import yaml

  file = folder / CONFIG
  if not file.is_file():
    return Fields({}, str(file))
  try:
    values = yaml.safe_load(file.read_text(encoding='utf-8'))
  except yaml.YAMLError as error:
    raise ValueError(f'{file} is not YAML: {error}.') from error
  if not isinstance(values, dict):
    raise ValueError(f'{file} holds a {type(values).__name__}, not an object.')
  return Fields(values, str(file))


def _activation(has_threshold: bool, k: int | None) -> Any:
  if k is not None:
    return TopK(k)
  return JumpReLU() if has_threshold else ReLU()


def _read_layer(
  path: pathlib.Path, facts: Facts, sites: tuple[Any, Any], k: int | None
) -> Any:
  where, tensors = str(path), from_safetensors(path)
  config = DictionaryConfig(
    features_of(where, tensors, 'W_enc', 1),
    features_of(where, tensors, 'W_enc', 0),
    _activation(_THRESHOLD in tensors, k),
    Transcoder(features_of(where, tensors, 'W_dec', 1), 'W_skip' in tensors),
    **facts.place(sites[0], layer_in(path.name), sites[1]),
  )
  load = open_tensors(where, tensors, _layer_rows(config), config)
  return lambda: Dictionary(load(), config)


def _layer_rows(config: DictionaryConfig) -> list[Row]:
  table = [Row('W_enc', 'W_enc', TRANSPOSED), *rows('W_dec b_enc b_dec')]
  if isinstance(config.activation, JumpReLU):
    table.append(Row(_THRESHOLD, 'threshold'))
  if 'W_skip' in config.shapes():
    table.append(Row('W_skip', 'W_skip', TRANSPOSED))
  return table


def _read_cross_layer(
  path: pathlib.Path, facts: Facts, sites: tuple[Any, Any], k: int | None
) -> Any:
  where = str(path)
  layers = len(list(path.glob(_ENCODERS)))
  tensors: dict[str, Stored] = {}
  for layer in range(layers):
    for kind in ('enc', 'dec'):
      file = path / f'W_{kind}_{layer}.safetensors'
      if not file.is_file():
        raise ValueError(f'{file} is missing: {path} has {layers} layers, from 0 on.')
      tensors |= from_safetensors(file)
  features = features_of(where, tensors, 'W_enc_0', 0)
  width = features_of(where, tensors, 'W_enc_0', 1)
  config = DictionaryConfig(
    width,
    features,
    _activation('threshold_0' in tensors, k),
    CrossLayerTranscoder(layers),
    site=facts.site or sites[0],
    out_site=sites[1],
  )
  check_shapes(where, tensors, _cross_layer_shapes(config))

  def build() -> Dictionary:
    get = lambda name: jnp.asarray(tensors[name].read())
    every = lambda name: [get(f'{name}_{layer}') for layer in range(layers)]
    leaves = {f'W_dec.{layer}': get(f'W_dec_{layer}') for layer in range(layers)}
    leaves['W_enc'] = jnp.stack([W_enc.T for W_enc in every('W_enc')])
    for name in config.shapes().keys() - {'W_enc', 'W_dec'}:
      leaves[name] = jnp.stack(every(name))
    return Dictionary(unflat(config, leaves), config)

  return build


def _cross_layer_shapes(config: DictionaryConfig) -> dict[str, tuple[int, ...]]:
  width, features = config.width, config.features
  per_layer = {name for name in config.shapes() if name not in ('W_enc', 'W_dec')}
  layers = config.in_shape[0]
  shapes: dict[str, tuple[int, ...]] = {}
  for layer in range(layers):
    shapes[f'W_enc_{layer}'] = (features, width)
    shapes[f'W_dec_{layer}'] = (features, layers - layer, width)
    for name in per_layer:
      shapes[f'{name}_{layer}'] = (width,) if name == 'b_dec' else (features,)
  return shapes


# Writing


def write(path: pathlib.Path, dictionary: Any, metadata: Mapping[str, Any]) -> None:
  """Writes one layer's transcoder, or a cross-layer one, and the config.yaml.

  Transcoders of several layers are written to one folder, one after the other.
  """
  import yaml

  config = getattr(dictionary, 'config', None)
  across = isinstance(config, DictionaryConfig) and isinstance(
    config.wiring, CrossLayerTranscoder
  )
  if not isinstance(config, DictionaryConfig) or not _fits(config):
    raise ValueError(
      'circuit_tracer: it has transcoders with activation relu or jumprelu, of one '
      'layer each, with the layer in their config, or cross-layer without a skip '
      f'connection. This is {config or type(dictionary).__name__}.'
    )
  path.mkdir(parents=True, exist_ok=True)
  if across:
    _write_cross_layer(path, dictionary)
  else:
    tensors = tensors_for(_layer_rows(config), dictionary.params)
    write_tensors(path / f'layer_{config.layer}.safetensors', tensors)
  content = {
    'model_kind': 'cross_layer_transcoder' if across else 'transcoder_set',
    'model_name': metadata.get('model'),
    'feature_input_hook': hook_kind(config.site),
    'feature_output_hook': hook_kind(config.out_site),
    'scan': metadata.get('scan'),
  }
  text = yaml.safe_dump({k: v for k, v in content.items() if v is not None})
  (path / CONFIG).write_text(text, encoding='utf-8')


def _fits(config: DictionaryConfig) -> bool:
  if type(config.activation) not in (ReLU, JumpReLU):
    return False
  if isinstance(config.wiring, CrossLayerTranscoder):
    return not config.wiring.use_skip
  return (
    isinstance(config.wiring, Transcoder)
    and config.layer is not None
    and config.out_shape == config.in_shape
  )


def _write_cross_layer(path: pathlib.Path, dictionary: Dictionary) -> None:
  leaves = flat(dictionary.params)
  per_layer = [name for name in leaves if not name.startswith(('W_enc', 'W_dec'))]
  for layer in range(dictionary.config.in_shape[0]):
    encoder = {f'W_enc_{layer}': np.ascontiguousarray(leaves['W_enc'][layer].T)}
    encoder |= {f'{name}_{layer}': leaves[name][layer] for name in per_layer}
    write_tensors(path / f'W_enc_{layer}.safetensors', encoder)
    decoder = {f'W_dec_{layer}': leaves[f'W_dec.{layer}']}
    write_tensors(path / f'W_dec_{layer}.safetensors', decoder)


CIRCUIT_TRACER = Format('circuit_tracer', find, read, write, ('site', 'layer', 'k'))
