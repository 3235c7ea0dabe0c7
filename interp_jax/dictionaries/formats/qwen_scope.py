"""Qwen-Scope and crosscoders: state dicts with no activation in them.

`layer3.sae.pt` of Qwen-Scope are TopK autoencoders that do not subtract `b_dec`, with
both matrices transposed; how many features are active is in the name of the folder,
`SAE-Res-...-W32K-L0_50`, or given, `k=`.

`cc_weights.pt` of the crosscoder replications (Lindsey et al. 2024) are ReLU
crosscoders of two models, for activations scaled to the root of the width.
"""

from collections.abc import Mapping
import pathlib
from typing import Any

from interp_jax.core import Fields
from interp_jax.dictionaries.activation import ReLU, TopK
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.dictionary import Dictionary
from interp_jax.dictionaries.formats.files import (
  files_like,
  layer_in,
  match,
  metadata_of,
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
from interp_jax.dictionaries.formats.names import site_of
from interp_jax.dictionaries.formats.pickle_writer import write_pickle
from interp_jax.dictionaries.formats.pickles import read_tensors
from interp_jax.dictionaries.wiring import Autoencoder, Crosscoder

_TABLE = [
  Row('W_enc', 'W_enc', TRANSPOSED),
  Row('W_dec', 'W_dec', TRANSPOSED),
  *rows('b_enc b_dec'),
]


def _read_qwen(path: pathlib.Path, facts: Facts) -> Found:
  state, where = read_tensors(path), str(path)
  named = match(r'L0_(\d+)', path)
  k = facts.k if facts.k is not None else named and int(named)
  if not k:
    raise ValueError(
      f'{path}: how many features are active is not in the file, but in the name of '
      'its repository (..._L0_50). Give it: k=50.'
    )
  config = DictionaryConfig(
    features_of(where, state, 'W_enc', 1),
    features_of(where, state, 'W_enc', 0),
    TopK(k),
    Autoencoder(subtract_b_dec=False),
    **facts.place('resid_post', layer_in(path.name, r'layer(\d+)')),
  )
  load = open_tensors(where, state, _TABLE, config)
  model = match(r'SAE-Res-(.+)-W\d+K-L0_\d+', path)
  return Found(
    metadata_of('qwen_scope', {'k': k}, model), lambda: Dictionary(load(), config)
  )


def _write_qwen(
  path: pathlib.Path, dictionary: Any, metadata: Mapping[str, Any]
) -> None:
  del metadata  # It has no place for any.
  config = getattr(dictionary, 'config', None)
  wiring = Autoencoder(subtract_b_dec=False)
  if not isinstance(config, DictionaryConfig) or not (
    type(config.activation) is TopK
    and not config.activation.by_norm
    and config.wiring == wiring
    and config.normalize == 'none'
    and not config.joins_heads
  ):
    raise ValueError(
      'qwen_scope: it has TopK autoencoders that do not subtract b_dec, for raw '
      f'activations. This is {config or type(dictionary).__name__}.'
    )
  path.mkdir(parents=True, exist_ok=True)
  tensors = tensors_for(_TABLE, dictionary.params)
  write_pickle(path / f'layer{config.layer or 0}.sae.pt', tensors)


def _find_qwen(path: pathlib.Path) -> list[pathlib.Path]:
  return files_like(path, 'layer*.sae.pt')


QWEN_SCOPE = Format(
  'qwen_scope', _find_qwen, _read_qwen, _write_qwen, ('site', 'layer', 'k')
)


def _find_crosscoders(path: pathlib.Path) -> list[pathlib.Path]:
  return files_like(path, 'cc_weights.pt')


def _read_crosscoder(path: pathlib.Path, facts: Facts) -> Found:
  state, where = read_tensors(path), str(path)
  file = path.parent / 'cfg.json'
  fields = Fields.read(file) if file.is_file() else Fields({}, str(file))
  hook = fields.take('hook_point')
  site, layer = site_of(hook if isinstance(hook, str) else None)
  config = DictionaryConfig(
    features_of(where, state, 'W_enc', 1),
    features_of(where, state, 'W_enc', 2),
    ReLU(),
    Crosscoder(features_of(where, state, 'W_enc', 0)),
    **facts.place(site, layer),
  )
  load = open_tensors(where, state, rows('W_enc b_enc W_dec b_dec'), config)
  # The rest is of training.
  about = metadata_of('crosscoder', fields.values, fields.take('model_name'))
  return Found(about, lambda: Dictionary(load(), config))


CROSSCODER = Format('crosscoder', _find_crosscoders, _read_crosscoder)
