"""Writing dictionaries that SAELens loads."""

from collections.abc import Mapping
import dataclasses
import json
import pathlib
from typing import Any

import jax.numpy as jnp

from interp_jax.dictionaries.activation import BatchTopK, TopK
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.formats import sae_lens_others
from interp_jax.dictionaries.formats.files import write_tensors
from interp_jax.dictionaries.formats.format import tensors_for
from interp_jax.dictionaries.formats.names import hook_of
from interp_jax.dictionaries.formats.sae_lens_layout import (
  CONFIG,
  NORMALIZE,
  PLAIN,
  TRANSCODERS,
  WEIGHTS,
  weight_rows,
)
from interp_jax.dictionaries.wiring import Autoencoder, Transcoder

# Files say with which version they were written; older ones are read as flat.
VERSION = '6.0.0'


def write(path: pathlib.Path, dictionary: Any, metadata: Mapping[str, Any]) -> None:
  """Writes a dictionary that SAELens loads with `SAE.load_from_disk`."""
  others = sae_lens_others.describe(dictionary)
  if others is not None:
    cfg, tensors = others
    about: dict[str, Any] = {}
  else:
    cfg, tensors, about = _describe(dictionary)
  about |= {'sae_lens_version': VERSION, 'model_name': metadata.get('model')}
  about |= {'context_size': metadata.get('context')}
  kept = {name: value for name, value in about.items() if value is not None}
  dtype = tensors['W_dec'].dtype.name
  cfg |= {'dtype': dtype, 'device': 'cpu', 'metadata': kept}
  path.mkdir(parents=True, exist_ok=True)
  write_tensors(path / WEIGHTS, tensors)
  (path / CONFIG).write_text(json.dumps(cfg, indent=2) + '\n', encoding='utf-8')


def _describe(dictionary: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
  """The config, the tensors and the metadata of a dictionary."""
  config = dictionary.config
  architecture = _architecture(config)
  by_config = {ours: theirs for theirs, ours in reversed(NORMALIZE.items())}
  params = dict(dictionary.params)
  wiring = config.wiring
  if isinstance(wiring, Autoencoder) and wiring.tied:
    params['W_enc'] = jnp.asarray(params['W_dec']).T
    config = dataclasses.replace(config, wiring=Autoencoder(wiring.subtract_b_dec))
  if config.joins_heads and config.site not in (None, 'z'):
    raise ValueError(
      f"sae_lens: SAELens joins the heads of site 'z' only, not of {config.site!r}."
    )
  cfg = {
    'architecture': architecture,
    'd_in': config.width,
    'd_sae': config.features,
    'apply_b_dec_to_input': isinstance(wiring, Autoencoder) and wiring.subtract_b_dec,
    'normalize_activations': by_config[config.normalize],
    'reshape_activations': 'hook_z' if config.joins_heads else 'none',
  }
  if isinstance(config.activation, TopK):
    by_norm = config.activation.by_norm
    cfg |= {'k': config.activation.k, 'rescale_acts_by_decoder_norm': by_norm}
  about = {'hook_name': hook_of(config.site, config.layer)}
  if architecture in TRANSCODERS:
    cfg['d_out'] = config.out_shape[0]
    about['hook_name_out'] = hook_of(config.out_site, config.out_layer)
  return cfg, tensors_for(weight_rows(config), params), about


def _architecture(config: DictionaryConfig) -> str:
  """SAELens's name of what a dictionary computes."""
  activation, wiring = config.activation, config.wiring
  if isinstance(wiring, Transcoder):
    kinds = {value: name for name, value in TRANSCODERS.items()}
    kind = (type(activation), wiring.use_skip)
    if kind in kinds:
      return kinds[kind]
  elif isinstance(wiring, Autoencoder) and activation.name in PLAIN:
    return PLAIN[activation.name]
  hint = (
    ' Its codes depend on the batch: write the exported dictionary of a training run, '
    'a JumpReLU.'
    if isinstance(activation, BatchTopK)
    else ' Write it in our own format: dictionaries.save.'
  )
  raise ValueError(
    f'sae_lens: SAELens has no architecture for a {wiring.name} with activation '
    f'{activation.name!r}.{hint}'
  )
