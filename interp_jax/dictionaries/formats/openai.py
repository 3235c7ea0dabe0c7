"""OpenAI's autoencoders of GPT-2 small (Gao et al. 2024, 2406.04093).

A `.pt` file each, `.../resid_post_mlp_v5_32k/autoencoders/3.pt`, with the activation in
words. TopK ones normalize each input, with the unbiased standard deviation and the
small number added after the root (`normalize.layer_norm`); ReLU ones do not.
"""

from collections.abc import Mapping
import pathlib
from typing import Any

import numpy as np

from interp_jax.core import unknown
from interp_jax.dictionaries.activation import ReLU, TopK
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.dictionary import Dictionary
from interp_jax.dictionaries.formats.files import files_like, metadata_of
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
from interp_jax.dictionaries.formats.pickle_writer import write_pickle
from interp_jax.dictionaries.formats.pickles import read_pickle, read_state
from interp_jax.dictionaries.formats.stored import Stored
from interp_jax.dictionaries.wiring import Autoencoder

_TABLE = [
  Row('encoder.weight', 'W_enc', TRANSPOSED),
  Row('decoder.weight', 'W_dec', TRANSPOSED),
  *rows('', b_enc='latent_bias', b_dec='pre_bias'),
]
_STATISTICS = (
  'stats_last_nonzero',
  'latents_activation_frequency',
  'latents_mean_square',
)
_SITES = {
  'resid_post_mlp': 'resid_post',
  'resid_delta_mlp': 'mlp_out',
  'resid_post_attn': 'resid_mid',
  'resid_delta_attn': 'attn_out',
  'mlp_post_act': 'post',
}


def find(path: pathlib.Path) -> list[pathlib.Path]:
  """The files whose program makes the tensors of this library."""
  return [file for file in files_like(path, '*.pt') if _is_one(file)]


def _is_one(file: pathlib.Path) -> bool:
  try:
    state = read_pickle(file)
  except ValueError:
    return False  # Not ours to complain about, unless `format=` says that it is.
  return isinstance(state, dict) and {'latent_bias', 'pre_bias'} <= state.keys()


def read(path: pathlib.Path, facts: Facts) -> Found:
  """An autoencoder with TopK or with ReLU."""
  state = read_state(path)
  words = {
    name: value for name, value in state.items() if not isinstance(value, Stored)
  }
  tensors = {name: value for name, value in state.items() if isinstance(value, Stored)}
  beyond = sorted(words.keys() - {'activation', 'activation_state_dict'})
  if beyond:
    raise ValueError(f'{path} has entries that are not known here: {beyond}.')
  activation = _activation(path, words)
  config = DictionaryConfig(
    features_of(str(path), tensors, 'encoder.weight', 1),
    features_of(str(path), tensors, 'encoder.weight', 0),
    activation,
    **facts.place(*_place(path)),
    normalize='layer_norm' if isinstance(activation, TopK) else 'none',
  )
  load = open_tensors(str(path), tensors, _TABLE, config, _STATISTICS)
  plain = {name: _words(value) for name, value in words.items()}
  return Found(metadata_of('openai', plain), lambda: Dictionary(load(), config))


def _words(value: Any) -> Any:
  """Plain data, with numbers that were saved as tensors as numbers."""
  if isinstance(value, Stored):
    return value.read().tolist()
  if isinstance(value, dict):
    return {name: _words(part) for name, part in value.items()}
  return value


def _activation(path: pathlib.Path, words: Mapping[str, Any]) -> TopK | ReLU:
  name = words.get('activation', 'ReLU')
  settings = _words(words.get('activation_state_dict', {}))
  if name == 'ReLU':
    return ReLU()
  if name != 'TopK':
    raise ValueError(f'{path}: ' + unknown('activation', name, ('ReLU', 'TopK')))
  if settings.get('postact_fn', 'ReLU') != 'ReLU' or 'k' not in settings:
    raise ValueError(f'{path}: TopK with {settings} is not supported, only with ReLU.')
  return TopK(int(settings['k']))


def _place(path: pathlib.Path) -> tuple[str | None, int | None]:
  """From the path, as OpenAI's storage has it."""
  sites = [site for part, site in _SITES.items() if part in str(path)]
  layer = int(path.stem) if path.stem.isdecimal() else None
  return (sites[0] if sites else None), layer


def write(path: pathlib.Path, dictionary: Any, metadata: Mapping[str, Any]) -> None:
  """Writes a file that OpenAI's `Autoencoder.from_state_dict` takes."""
  del metadata  # It has no place for any.
  config = getattr(dictionary, 'config', None)
  fits = isinstance(config, DictionaryConfig) and (
    isinstance(config.wiring, Autoencoder)
    and config.wiring == Autoencoder()
    and (type(config.activation), config.normalize)
    in ((TopK, 'layer_norm'), (ReLU, 'none'))
    and not getattr(config.activation, 'by_norm', False)
    and not config.joins_heads
  )
  if config is None or not fits:
    raise ValueError(
      "openai: it has autoencoders with TopK, whose inputs it normalizes ('layer_norm')"
      f', and with ReLU, whose inputs it does not. This is {config or dictionary}.'
    )
  state: dict[str, Any] = tensors_for(_TABLE, dictionary.params)
  state['stats_last_nonzero'] = np.zeros(config.features, np.int64)
  state['latents_activation_frequency'] = np.ones(config.features, np.float32)
  state['latents_mean_square'] = np.zeros(config.features, np.float32)
  if isinstance(config.activation, TopK):
    settings = {'k': config.activation.k, 'postact_fn': 'ReLU'}
    state |= {'activation': 'TopK', 'activation_state_dict': settings}
  else:
    state |= {'activation': 'ReLU', 'activation_state_dict': {}}
  file = path if path.suffix == '.pt' else path / f'{config.layer or 0}.pt'
  file.parent.mkdir(parents=True, exist_ok=True)
  write_pickle(file, state)


OPENAI = Format('openai', find, read, write)
