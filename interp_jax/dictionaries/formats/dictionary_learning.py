"""dictionary_learning: `trainer_0/{config.json, ae.pt, checkpoints/ae_1000.pt}`.

Every class that its `load_dictionary` knows, and read to the codes that it gives:
decoder rows of `AutoEncoder` are brought to norm 1, those of the others stay; BatchTopK
and Matryoshka dictionaries go by their threshold, TopK ones by k. Biases are for raw
activations in `ae.pt`, and in checkpoints too.
"""

from collections.abc import Mapping
import dataclasses
import json
import pathlib
import re
from typing import Any

import numpy as np

from interp_jax.core import Fields
from interp_jax.dictionaries.activation import Gated, JumpReLU, ReLU, TopK
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.dictionary import Dictionary
from interp_jax.dictionaries.export import fold_norms
from interp_jax.dictionaries.formats.files import files_like, metadata_of
from interp_jax.dictionaries.formats.format import (
  TRANSPOSED,
  Facts,
  Format,
  Found,
  Row,
  open_tensors,
  rows,
  tensors_for,
)
from interp_jax.dictionaries.formats.pickle_writer import write_pickle
from interp_jax.dictionaries.formats.pickles import read_tensors
from interp_jax.dictionaries.wiring import Autoencoder

_LINEAR = [
  Row('encoder.weight', 'W_enc', TRANSPOSED),
  Row('decoder.weight', 'W_dec', TRANSPOSED),
]
_OWN = rows('W_enc b_enc W_dec b_dec')
_BIAS = Row('encoder.bias', 'b_enc')


@dataclasses.dataclass(frozen=True)
class _Class:
  """One class of the library: its activation, its tensors, what they are not."""

  activation: Any
  table: list[Row]
  subtracts: bool = True
  unused: tuple[str, ...] = ()
  scalars: tuple[str, ...] = ()
  folds: bool = False


_K = ('k', 'threshold')
_CLASSES = {
  'AutoEncoder': _Class(ReLU, [*_LINEAR, _BIAS, Row('bias', 'b_dec')], folds=True),
  'AutoEncoderNew': _Class(
    ReLU, [*_LINEAR, _BIAS, Row('decoder.bias', 'b_dec')], subtracts=False
  ),
  'GatedAutoEncoder': _Class(
    Gated,
    [
      *_LINEAR,
      *rows('r_mag', b_dec='decoder_bias', b_gate='gate_bias', b_mag='mag_bias'),
    ],
  ),
  'AutoEncoderTopK': _Class(TopK, [*_LINEAR, _BIAS, Row('b_dec', 'b_dec')], unused=_K),
  'BatchTopKSAE': _Class(
    JumpReLU,
    [*_LINEAR, _BIAS, *rows('b_dec threshold')],
    unused=('k',),
    scalars=('threshold',),
  ),
  'MatryoshkaBatchTopKSAE': _Class(
    JumpReLU,
    [*_OWN, Row('threshold', 'threshold')],
    unused=('k', 'group_sizes'),
    scalars=('threshold',),
  ),
  'JumpReluAutoEncoder': _Class(
    JumpReLU, [*_OWN, Row('threshold', 'threshold')], subtracts=False
  ),
}


def find(path: pathlib.Path) -> list[pathlib.Path]:
  """The weights that have a config of this library beside or above them."""
  if path.is_dir() and (path / 'ae.pt').is_file():
    path = path / 'ae.pt'  # Its checkpoints are read where they are asked for.
  files = files_like(path, 'ae.pt', 'ae_[0-9]*.pt')
  last = [file for file in files if file.name == 'ae.pt']
  return [file for file in last or files if _config(file) is not None]


def _config(file: pathlib.Path) -> pathlib.Path | None:
  for folder in (file.parent, file.parent.parent):
    if (folder / 'config.json').is_file():
      return folder / 'config.json'
  return None


def read(path: pathlib.Path, facts: Facts) -> Found:
  """A dictionary of any class."""
  config_file = _config(path)
  if config_file is None:
    raise ValueError(f'{path}: there is no config.json beside or above it.')
  raw = Fields.read(config_file)
  trainer, buffer = raw.part('trainer'), raw.part('buffer')
  raw.finish(facts.ignore_fields)
  # What else a trainer has is of training, and the library passes over it too.
  kind = trainer.choose('dict_class', _CLASSES)
  layer = trainer.take('layer')
  site, at = _site(trainer.take('submodule_name'), layer)
  state = read_tensors(path)
  activation = kind.activation
  if activation is TopK:
    k = trainer.need('k')
    if 'k' in state and int(state['k'].read()) != k:
      raise ValueError(f'{path} is of k={int(state["k"].read())}, its config says {k}.')
    activation = TopK(k)
  else:
    activation = activation()
  config = DictionaryConfig(
    trainer.need('activation_dim'),
    trainer.need('dict_size'),
    activation,
    Autoencoder(kind.subtracts),
    **facts.place(site, at),
  )
  load = open_tensors(str(path), state, kind.table, config, kind.unused, kind.scalars)

  def build() -> Dictionary:
    params = load()
    params = fold_norms(config, params) if kind.folds else params
    return Dictionary(params, config)

  context = buffer.take('ctx_len')
  about = metadata_of(
    'dictionary_learning', raw.values, trainer.take('lm_name'), context
  )
  return Found(about, build)


def _site(name: str | None, layer: int | None) -> tuple[str | None, int | None]:
  """From names like `resid_post_layer_3`."""
  match = re.fullmatch(
    r'(resid_post|resid_pre|mlp_out|attn_out)_layer_(\d+)', name or ''
  )
  return (match[1], int(match[2])) if match else (None, layer)


# Writing


def write(path: pathlib.Path, dictionary: Any, metadata: Mapping[str, Any]) -> None:
  """Writes `config.json` and `ae.pt`, for the library's `load_dictionary`."""
  config = getattr(dictionary, 'config', None)
  name = _class_of(config) if isinstance(config, DictionaryConfig) else None
  if config is None or name is None:
    raise ValueError(
      'dictionary_learning: it has classes for autoencoders with ReLU, gated, TopK and '
      'JumpReLU activations (JumpReLU without subtracting b_dec, or with one threshold '
      'for all features; TopK and gated with subtracting it), and no place for input '
      f'normalization, joined heads or tied weights. This is {config or dictionary}.'
    )
  kind, params = _CLASSES[name], dict(dictionary.params)
  state = tensors_for(kind.table, params)
  for scalar in kind.scalars:
    if np.ptp(state[scalar]):
      raise ValueError(
        'dictionary_learning: its dictionaries that subtract b_dec have one threshold '
        'for all features, and this one has several.'
      )
    state[scalar] = np.asarray(state[scalar][0])
  # How many were active in training is not known of a JumpReLU; nothing reads it.
  k = config.activation.k if isinstance(config.activation, TopK) else 1
  if 'k' in kind.unused:
    state['k'] = np.asarray(k, np.int32)
    state.setdefault('threshold', np.asarray(-1, np.float32))
  if 'group_sizes' in kind.unused:
    state['group_sizes'] = np.asarray([config.features])
  trainer = {
    'dict_class': name,
    'trainer_class': 'interp_jax',
    'activation_dim': config.width,
    'dict_size': config.features,
    'k': k,
    'layer': config.layer,
    'lm_name': metadata.get('model'),
    'submodule_name': None
    if config.site is None
    else f'{config.site}_layer_{config.layer}',
  }
  content = {'trainer': trainer, 'buffer': {'ctx_len': metadata.get('context')}}
  path.mkdir(parents=True, exist_ok=True)
  write_pickle(path / 'ae.pt', state)
  (path / 'config.json').write_text(json.dumps(content, indent=2) + '\n')


def _class_of(config: DictionaryConfig) -> str | None:
  """The class that computes what a config says; None if there is none."""
  wiring, activation = config.wiring, config.activation
  plain = config.normalize == 'none' and not config.joins_heads
  if not (isinstance(wiring, Autoencoder) and plain) or wiring.tied:
    return None
  subtracts = wiring.subtract_b_dec
  if type(activation) is ReLU:
    return 'AutoEncoder' if subtracts else 'AutoEncoderNew'
  if type(activation) is JumpReLU:
    return 'BatchTopKSAE' if subtracts else 'JumpReluAutoEncoder'
  if type(activation) is TopK and not activation.by_norm:
    return 'AutoEncoderTopK' if subtracts else None
  return 'GatedAutoEncoder' if type(activation) is Gated and subtracts else None


DICTIONARY_LEARNING = Format('dictionary_learning', find, read, write)
