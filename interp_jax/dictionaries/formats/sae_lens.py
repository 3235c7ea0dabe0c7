"""SAELens: every architecture, of version 6 and the flat configs before it.

A folder of `cfg.json` and `sae_weights.safetensors`, or of such folders. Training
checkpoints of batchtopk and matryoshka_batchtopk are read as what SAELens saves for
inference, a JumpReLU whose threshold is that of all features. With
`rescale_acts_by_decoder_norm` the decoder's norms are folded into the encoder, which
gives SAELens's codes; reading is exact, the parameters are others.

With `normalize_activations='expected_average_only_in'` weights are for inputs times a
number that the weights do not hold. SAELens applies it where it knows it (its registry
of published dictionaries, or a checkpoint's `activation_scaler.json`) and otherwise
passes over it; here it has to be said, `input_scale=`, unless that file is there.
"""

import dataclasses
import pathlib
from typing import Any

import jax.numpy as jnp

from interp_jax.core import Fields
from interp_jax.dictionaries.activation import (
  AbsTopK,
  Gated,
  JumpReLU,
  ReLU,
  TopK,
)
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.dictionary import Dictionary
from interp_jax.dictionaries.export import fold_norms
from interp_jax.dictionaries.formats import sae_lens_others
from interp_jax.dictionaries.formats.files import (
  folders_with,
  metadata_of,
)
from interp_jax.dictionaries.formats.format import (
  Facts,
  Format,
  Found,
  open_tensors,
  unit_factor,
)
from interp_jax.dictionaries.formats.names import site_of
from interp_jax.dictionaries.formats.sae_lens_flat import from_flat, is_flat
from interp_jax.dictionaries.formats.sae_lens_layout import (
  BATCHTOPK,
  CONFIG,
  NORMALIZE,
  TRANSCODERS,
  WEIGHTS,
  weight_rows,
)
from interp_jax.dictionaries.formats.sae_lens_writer import write
from interp_jax.dictionaries.formats.stored import Tensors, from_safetensors
from interp_jax.dictionaries.wiring import Autoencoder, Transcoder

SCALER = 'activation_scaler.json'
_VERSIONS = ('sae_lens_version', 'sae_lens_training_version')
# What training checkpoints have beyond; it changes nothing of what is computed.
# fmt: off
_OF_TRAINING = (
  'aux_loss_coefficient', 'decoder_init_norm', 'jumprelu_bandwidth',
  'jumprelu_init_threshold', 'jumprelu_sparsity_loss_mode', 'jumprelu_ste_to_input',
  'jumprelu_tanh_scale', 'l0_coefficient', 'l0_warm_up_steps', 'l1_coefficient',
  'l1_warm_up_steps', 'lp_norm', 'matryoshka_widths', 'pre_act_loss_coefficient',
  'target_l0', 'topk_threshold_lr', 'use_matryoshka_aux_loss',
  'use_sparse_activations', 'include_outer_loss',
)
# fmt: on


def find(path: pathlib.Path) -> list[pathlib.Path]:
  """The folders with both files."""
  return folders_with(path, CONFIG, WEIGHTS)


def read(path: pathlib.Path, facts: Facts) -> Found:
  """A dictionary of any architecture."""
  fields = Fields.read(path / CONFIG)
  raw = fields.values
  if is_flat(raw):
    fields = from_flat(fields)
  tensors = from_safetensors(path / WEIGHTS)
  about = fields.part('metadata')
  metadata = metadata_of(
    'sae_lens', raw, about.take('model_name'), about.take('context_size')
  )
  fields.ignore('dtype', 'device', *_VERSIONS, *_OF_TRAINING)
  architecture = fields.need('architecture')
  scale = _input_scale(path, fields, facts)
  others = sae_lens_others.READERS
  if architecture in others:
    build = others[architecture](str(path), fields, tensors, facts, scale)
  else:
    build = _read_plain(path, architecture, fields, about, tensors, facts, scale)
  fields.finish(facts.ignore_fields)
  return Found(metadata, build)


def _read_plain(
  path: pathlib.Path,
  architecture: str,
  fields: Fields,
  about: Fields,
  tensors: Tensors,
  facts: Facts,
  scale: float,
) -> Any:
  """A dictionary whose codes are an activation of an encoder."""
  activation = _activation(architecture, fields)
  width, features = fields.need('d_in'), fields.need('d_sae')
  site, layer = site_of(about.take('hook_name'))
  if about.take('hook_head_index') is not None:
    site = None  # One head of the site: no site of its own.
  out_site, wiring = None, None
  heads = fields.choose('reshape_activations', {'none': False, 'hook_z': True}, 'none')
  subtract = fields.take('apply_b_dec_to_input', True)
  normalize = fields.choose('normalize_activations', NORMALIZE, 'none')
  if architecture in TRANSCODERS:
    if subtract or normalize != 'none' or scale != 1:
      raise ValueError(
        f'{path}: a transcoder with apply_b_dec_to_input={subtract} and '
        f'normalized inputs is not read; its output is in other units than its input.'
      )
    wiring = Transcoder(fields.need('d_out'), TRANSCODERS[architecture][1])
    out_site, _ = site_of(about.take('hook_name_out'))
  config = DictionaryConfig(
    width,
    features,
    activation,
    wiring or Autoencoder(subtract),
    **facts.place(site, layer, out_site),
    normalize=normalize,
    joins_heads=heads,
  )
  threshold = architecture in BATCHTOPK
  unused = ['topk_threshold'] if threshold else []
  unused += unit_factor(str(path), tensors)
  table, logs = weight_rows(config), 'log_threshold' in tensors
  if logs:  # Of JumpReLU checkpoints before 2025.
    renamed = {'threshold': 'log_threshold'}
    table = [row._replace(source=renamed.get(row.source, row.source)) for row in table]
  load = open_tensors(str(path), tensors, table, config, unused)
  rescaled = fields.take('rescale_acts_by_decoder_norm', threshold)

  def build() -> Dictionary:
    params, final = load(), config
    if logs:
      params = params | {'threshold': jnp.exp(params['threshold'])}
    if scale != 1:
      params = fold_input_scale(params, scale)
    if rescaled:
      params = fold_norms(config, params)
    if threshold:
      least = tensors['topk_threshold'].read().astype(params['b_enc'].dtype)
      # It is in units of codes times norms: folding the scale made norms smaller.
      least = least / scale if rescaled else least
      params = params | {'threshold': jnp.full(features, least)}
      final = dataclasses.replace(config, activation=JumpReLU())
    return Dictionary(params, final)

  return build


def _activation(architecture: str, fields: Fields) -> Any:
  plain = {'standard': ReLU(), 'gated': Gated(), 'jumprelu': JumpReLU()}
  plain |= {name: make() for name, (make, _) in TRANSCODERS.items()}
  if architecture in ('topk', 'abstopk'):
    kind = TopK if architecture == 'topk' else AbsTopK
    return kind(fields.need('k'))
  if architecture in BATCHTOPK:
    fields.ignore('k')
    return ReLU()  # Until the threshold is read.
  allowed = {name: name for name in (*plain, 'topk', 'abstopk', *BATCHTOPK)}
  allowed |= {name: name for name in sae_lens_others.READERS}
  return plain[fields.choose('architecture', allowed)]


def fold_input_scale(params: dict[str, Any], scale: float) -> dict[str, Any]:
  """Weights for raw inputs from weights for inputs times a number; same codes."""
  return params | {
    'W_enc': params['W_enc'] * scale,
    'W_dec': params['W_dec'] / scale,
    'b_dec': params['b_dec'] / scale,
  }


def _input_scale(path: pathlib.Path, fields: Fields, facts: Facts) -> float:
  """What training multiplied inputs by, where that is still to be folded."""
  how = fields.take('normalize_activations', 'none')
  if how == 'covariance_whitening':
    raise ValueError(
      f'{path} is a checkpoint for whitened inputs. Fold the whitening in first, in '
      'SAELens: sae.fold_activation_whitening(...), sae.save_model(...).'
    )
  if how != 'expected_average_only_in':
    return 1.0
  scale = facts.input_scale
  if scale is None and (path / SCALER).is_file():
    scaler = Fields.read(path / SCALER)
    scale = scaler.take('scaling_factor')
    scale = 1.0 if scale is None else scale
  if scale is None:
    raise ValueError(
      f'{path} is for inputs times a number (normalize_activations={how!r}) that its '
      'files do not hold. Give it, input_scale=...: sqrt(d_in) over the mean norm of '
      'the activations. input_scale=1.0 takes the weights as they stand.'
    )
  return float(scale)


SAE_LENS = Format('sae_lens', find, read, write, ('site', 'layer', 'input_scale'))
