"""Llama-Scope (2410.20526) and Llamascopium, the library of today that wrote it.

Both are trained on activations scaled to the root of the width, by the mean norm of a
data set: `dataset_average_activation_norm`, of inputs and of outputs. It is folded into
the weights here, as `standardize_parameters_of_dataset_norm` does there, so codes are
those of its inference mode. Three layouts:

- `config.json` and `sae_weights.safetensors` (or `checkpoints/final.safetensors`) with
  `W_E`, `W_D`, `b_E`, `b_D` and a logarithm of each threshold: Llamascopium.
- the same with `encoder.weight`, ...: between the two (Llama-Scope-R1-Distill).
- `hyperparams.json` and `checkpoints/final.safetensors` with one threshold for all in
  the former: Llama-Scope. Its threshold is for the inference mode.

With `sparsity_include_decoder_norm` thresholds are for codes times the norms of the
decoder's rows, and k is over these. The norms are folded in; codes are what they would
be with rows of norm 1 in Llama-Scope, whose library does the same, and are left as they
are in Llamascopium.
"""

from collections.abc import Callable
import dataclasses
import math
import pathlib
from typing import Any

import jax.numpy as jnp

from interp_jax.core import Fields
from interp_jax.dictionaries.activation import JumpReLU, ReLU, TopK
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.dictionary import Dictionary
from interp_jax.dictionaries.export import fold_norms
from interp_jax.dictionaries.formats.files import folders_with, metadata_of
from interp_jax.dictionaries.formats.format import (
  TRANSPOSED,
  Facts,
  Format,
  Found,
  Row,
  open_tensors,
  rows,
)
from interp_jax.dictionaries.formats.names import site_of
from interp_jax.dictionaries.formats.stored import Tensors, from_safetensors
from interp_jax.dictionaries.wiring import Autoencoder, Transcoder

_WEIGHTS = ('sae_weights.safetensors', 'checkpoints/final.safetensors')
_NORM = 'dataset_average_activation_norm'
_OLD_LOG, _LOG = 'log_jumprelu_threshold', 'activation_function.log_jumprelu_threshold'
_TABLE = rows('', W_enc='W_E', b_enc='b_E', W_dec='W_D', b_dec='b_D')
_OLD_TABLE = [
  Row('encoder.weight', 'W_enc', TRANSPOSED),
  Row('decoder.weight', 'W_dec', TRANSPOSED),
  *rows('', b_enc='encoder.bias', b_dec='decoder.bias'),
]
# fmt: off
_WITHOUT_EFFECT = (
  'jumprelu_threshold_window', 'use_triton_kernel', 'strict_loading', 'model_name',
  'sparsity_threshold_for_triton_spmm_kernel', 'sae_type', 'dtype', 'device',
  'expansion_factor', 'top_k', 'sae_pretrained_name_or_path', 'fix_decoder_norm',
  'force_unit_decoder_norm', 'init_encoder_norm', 'init_decoder_norm',
)
# fmt: on


def find(path: pathlib.Path) -> list[pathlib.Path]:
  """The folders with a config and weights in one of the layouts."""
  found = {}
  for config in ('config.json', 'hyperparams.json'):
    for weights in _WEIGHTS:
      for folder in folders_with(path, config, weights):
        if 'hook_point_in' in Fields.read(folder / config).values:
          found[folder] = None
  return list(found)


def read(path: pathlib.Path, facts: Facts) -> Found:
  """An autoencoder or a transcoder in any of the three layouts."""
  is_old = (path / 'hyperparams.json').is_file()
  fields = Fields.read(path / ('hyperparams.json' if is_old else 'config.json'))
  weights = next(name for name in _WEIGHTS if (path / name).is_file())
  tensors = from_safetensors(path / weights)
  fields.require('sae_type', 'sae', default='sae', why='Others are not read.')
  for name in ('use_glu_encoder', 'apply_decoder_bias_to_pre_encoder'):
    fields.require(name, False, default=False)
  fields.require('use_decoder_bias', True, default=True)
  width = fields.need('d_model')
  factor = fields.take('expansion_factor')
  features = fields.take('d_sae') or int(width * (factor or 0))
  hooks = fields.need('hook_point_in'), fields.need('hook_point_out')
  (site, layer), (written, _) = map(site_of, hooks)
  same = hooks[0] == hooks[1]
  config = DictionaryConfig(
    width,
    features,
    _activation(fields, is_old),
    Autoencoder(subtract_b_dec=False) if same else Transcoder(),
    **facts.place(site, layer, None if same else written),
  )
  by_norm = fields.take('sparsity_include_decoder_norm', True)
  norms = _norms(path, fields, tensors, hooks, facts)
  build = _build(path, config, fields, tensors, norms, by_norm, is_old)
  fields.ignore(*_WITHOUT_EFFECT)
  fields.finish(facts.ignore_fields)
  return Found(metadata_of('llamascopium', fields.values), build)


def _activation(fields: Fields, is_old: bool) -> Any:
  kinds = {'relu': ReLU, 'jumprelu': JumpReLU, 'topk': TopK}
  kind = fields.choose('act_fn', kinds, 'relu')
  if kind is TopK and is_old and fields.take('jump_relu_threshold'):
    kind = JumpReLU  # Its library turns them into such for inference.
  return TopK(fields.need('top_k')) if kind is TopK else kind()


def _norms(
  path: pathlib.Path,
  fields: Fields,
  tensors: Tensors,
  hooks: tuple[str, str],
  facts: Facts,
) -> tuple[float, float]:
  """What inputs and outputs were multiplied by in training."""
  how = fields.take('norm_activation', 'dataset-wise')
  given = fields.take(_NORM)
  if how == 'inference':
    return 1.0, 1.0
  if how != 'dataset-wise':
    raise ValueError(f'{path}: norm_activation={how!r} is not supported.')
  root = math.sqrt(fields.need('d_model'))
  if facts.input_scale is not None:
    return facts.input_scale, facts.input_scale
  if given is not None:
    return root / given['in'], root / given['out']
  names = [f'{_NORM}.{hook}' for hook in hooks]
  if all(name in tensors for name in names):
    values = [float(tensors[name].read()) for name in names]
    return root / values[0], root / values[1]
  raise ValueError(
    f'{path} is for activations times sqrt(d_model) over their mean norm, which its '
    'files do not hold. Give the factor: input_scale=...; 1.0 takes the weights as '
    'they stand.'
  )


def _build(
  path: pathlib.Path,
  config: DictionaryConfig,
  fields: Fields,
  tensors: Tensors,
  scales: tuple[float, float],
  by_norm: bool,
  is_old: bool,
) -> Callable[[], Dictionary]:
  jumps = isinstance(config.activation, JumpReLU)
  old = 'encoder.weight' in tensors
  table = list(_OLD_TABLE if old else _TABLE)
  constant = fields.take('jump_relu_threshold') if is_old else None
  if jumps and constant is None:
    table.append(Row(_OLD_LOG if old else _LOG, 'threshold'))
  norms = [name for name in tensors if name.startswith(_NORM)]
  plain = config if constant is None or not jumps else _with(config, ReLU())
  load = open_tensors(str(path), tensors, table, plain, norms)
  scale_in, scale_out = scales

  def build() -> Dictionary:
    params = load()
    params |= {
      'b_enc': params['b_enc'] / scale_in,
      'b_dec': params['b_dec'] / scale_out,
    }
    if 'threshold' in params:
      params['threshold'] = jnp.exp(params['threshold'])
    params['W_dec'] = params['W_dec'] * (scale_in / scale_out)
    if jumps and constant is not None:
      params = fold_norms(plain, params) if by_norm else params
      params['threshold'] = jnp.full(config.features, constant, params['b_enc'].dtype)
      return Dictionary(params, config)
    lengths = jnp.linalg.norm(params['W_dec'], axis=1)
    if by_norm and jumps:
      params['threshold'] = params['threshold'] / lengths
    final = config
    if by_norm and isinstance(config.activation, TopK):
      final = _with(config, TopK(config.activation.k, by_norm=True))
    return Dictionary(params, final)

  return build


def _with(config: DictionaryConfig, activation: Any) -> DictionaryConfig:
  return dataclasses.replace(config, activation=activation)


LLAMASCOPIUM = Format(
  'llamascopium', find, read, facts=('site', 'layer', 'input_scale')
)
