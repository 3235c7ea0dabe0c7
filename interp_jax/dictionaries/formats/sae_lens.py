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

from collections.abc import Mapping
import dataclasses
import json
import pathlib
from typing import Any

import jax.numpy as jnp

from interp_jax.dictionaries.activation import (
  AbsTopK,
  BatchTopK,
  Gated,
  JumpReLU,
  ReLU,
  TopK,
)
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.dictionary import Dictionary
from interp_jax.dictionaries.export import fold_norms
from interp_jax.dictionaries.formats import sae_lens_others
from interp_jax.dictionaries.formats.fields import Fields
from interp_jax.dictionaries.formats.files import (
  folders_with,
  metadata_of,
  write_tensors,
)
from interp_jax.dictionaries.formats.format import (
  TRANSPOSED,
  Facts,
  Format,
  Found,
  Row,
  open_tensors,
  rows,
  tensors_for,
  unit_factor,
)
from interp_jax.dictionaries.formats.names import hook_of, site_of
from interp_jax.dictionaries.formats.stored import Tensors, from_safetensors
from interp_jax.dictionaries.wiring import Autoencoder, Transcoder

CONFIG, WEIGHTS = 'cfg.json', 'sae_weights.safetensors'
SCALER = 'activation_scaler.json'
# Files say with which version they were written; older ones are read as flat.
VERSION = '6.0.0'

_TRANSCODERS = {
  'transcoder': (ReLU, False),
  'skip_transcoder': (ReLU, True),
  'jumprelu_transcoder': (JumpReLU, False),
  'jumprelu_skip_transcoder': (JumpReLU, True),
}
_PLAIN = {
  'relu': 'standard',
  'gated': 'gated',
  'jumprelu': 'jumprelu',
  'topk': 'topk',
  'abstopk': 'abstopk',
}
_BATCHTOPK = ('batchtopk', 'matryoshka_batchtopk')
_NORMALIZE = {
  'none': 'none',
  'layer_norm': 'layer_norm',
  'constant_norm_rescale': 'constant_norm',
  'expected_average_only_in': 'none',
}
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
  if _is_flat(raw):
    fields = _from_flat(fields)
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
  normalize = fields.choose('normalize_activations', _NORMALIZE, 'none')
  if architecture in _TRANSCODERS:
    if subtract or normalize != 'none' or scale != 1:
      raise ValueError(
        f'{path}: a transcoder with apply_b_dec_to_input={subtract} and '
        f'normalized inputs is not read; its output is in other units than its input.'
      )
    wiring = Transcoder(fields.need('d_out'), _TRANSCODERS[architecture][1])
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
  threshold = architecture in _BATCHTOPK
  unused = ['topk_threshold'] if threshold else []
  unused += unit_factor(str(path), tensors)
  table, logs = _rows(config), 'log_threshold' in tensors
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
  plain |= {name: make() for name, (make, _) in _TRANSCODERS.items()}
  if architecture in ('topk', 'abstopk'):
    kind = TopK if architecture == 'topk' else AbsTopK
    return kind(fields.need('k'))
  if architecture in _BATCHTOPK:
    fields.ignore('k')
    return ReLU()  # Until the threshold is read.
  allowed = {name: name for name in (*plain, 'topk', 'abstopk', *_BATCHTOPK)}
  allowed |= {name: name for name in sae_lens_others.READERS}
  return plain[fields.choose('architecture', allowed)]


def _rows(config: DictionaryConfig) -> list[Row]:
  skip = 'W_skip' in config.shapes()
  names = [name for name in config.shapes() if name != 'W_skip']
  return [*rows(' '.join(names)), *([Row('W_skip', 'W_skip', TRANSPOSED)] * skip)]


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


# Before version 6


def _is_flat(raw: Mapping[str, Any]) -> bool:
  """Whether a config is of before version 6, as SAELens tells them apart."""
  about = raw.get('metadata') or {}
  version = raw.get('sae_lens_version') or about.get('sae_lens_version')
  return not version or int(str(version).split('.')[0]) < 6


def _from_flat(old: Fields) -> Fields:
  """The config of today for one in which everything lies side by side.

  It is that of a whole training run. SAELens passes over what is not of the dictionary,
  and so does this.
  """
  get = lambda name, *older: next(
    (old.values[n] for n in (name, *older) if old.values.get(n) is not None), None
  )
  activation = get('activation_fn', 'activation_fn_str') or 'relu'
  kwargs = get('activation_fn_kwargs') or {}
  architecture = get('architecture') or 'standard'
  if activation == 'topk':
    architecture = 'topk'
  elif activation != 'relu':
    raise ValueError(f'{old.where}: activation_fn={activation!r} is not supported.')
  if get('finetuning_scaling_factor'):
    raise ValueError(
      f'{old.where}: finetuning_scaling_factor is not supported. Fold it in with the '
      'SAELens that wrote the file.'
    )
  normalize = get('normalize_activations')
  if isinstance(normalize, bool):
    normalize = 'expected_average_only_in' if normalize else 'none'
  hook = get('hook_name', 'hook_point')
  subtract = get('apply_b_dec_to_input')
  about = {
    'hook_name': hook,
    'hook_head_index': get('hook_head_index', 'hook_point_head_index'),
    'model_name': get('model_name'),
    'context_size': get('context_size'),
  }
  new: dict[str, Any] = {
    'architecture': architecture,
    'd_in': get('d_in'),
    'd_sae': get('d_sae'),
    'apply_b_dec_to_input': True if subtract is None else subtract,
    'normalize_activations': normalize or 'none',
    'reshape_activations': get('reshape_activations')
    or ('hook_z' if 'hook_z' in (hook or '') else 'none'),
    'metadata': about,
  }
  if architecture == 'topk':
    new['k'] = kwargs.get('k', get('k'))
  if 'd_out' in old.values:
    new['d_out'] = old.values['d_out']
    about['hook_name_out'] = get('hook_name_out')
  return Fields(new, old.where)


# Writing


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
  by_config = {ours: theirs for theirs, ours in reversed(_NORMALIZE.items())}
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
  if architecture in _TRANSCODERS:
    cfg['d_out'] = config.out_shape[0]
    about['hook_name_out'] = hook_of(config.out_site, config.out_layer)
  return cfg, tensors_for(_rows(config), params), about


def _architecture(config: DictionaryConfig) -> str:
  """SAELens's name of what a dictionary computes."""
  activation, wiring = config.activation, config.wiring
  if isinstance(wiring, Transcoder):
    kinds = {value: name for name, value in _TRANSCODERS.items()}
    kind = (type(activation), wiring.use_skip)
    if kind in kinds:
      return kinds[kind]
  elif isinstance(wiring, Autoencoder) and activation.name in _PLAIN:
    return _PLAIN[activation.name]
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


SAE_LENS = Format('sae_lens', find, read, write)
