"""SAELens's two architectures that no encoder and activation make.

`matching_pursuit` is a decoder and a search, `temporal` reads sequences.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from interp_jax.core import Fields
from interp_jax.dictionaries.formats.format import Facts
from interp_jax.dictionaries.formats.stored import Tensors, check_shapes
from interp_jax.dictionaries.matching_pursuit import MatchingPursuit
from interp_jax.dictionaries.temporal import TemporalAutoencoder

_PROJECTIONS = {'Q': 'q_target', 'K': 'k_ctx', 'V': 'v_ctx', 'O': 'c_proj'}
_NORMALIZE = {
  'none': 'none',
  'layer_norm': 'layer_norm',
  'constant_norm_rescale': 'constant_norm',
  'constant_scalar_rescale': 'none',
  'expected_average_only_in': 'none',
}
Shapes = dict[str, tuple[int, ...]]


def _read_pursuit(
  where: str, fields: Fields, tensors: Tensors, facts: Facts, scale: float
) -> Callable[[], MatchingPursuit]:
  del facts  # It has no config to note a site in.
  width, features = fields.need('d_in'), fields.need('d_sae')
  why = 'Matching pursuit here reads raw activations.'
  fields.require(
    'normalize_activations', 'none', 'expected_average_only_in', default='none', why=why
  )
  fields.require('reshape_activations', 'none', default='none', why=why)
  centred = fields.take('apply_b_dec_to_input', True)
  settings = {
    'max_atoms': fields.take('max_iterations'),
    'residual_threshold': fields.take('residual_threshold', 1e-2) / scale,
    'stop_on_duplicate': fields.take('stop_on_duplicate_support', True),
    'assume_unit': True,
  }
  check_shapes(where, tensors, {'W_dec': (features, width), 'b_dec': (width,)})
  if scale != 1:
    raise ValueError(
      f'{where}: matching pursuit takes rows of length 1, which folding input_scale='
      f'{scale} would change. Scale the activations, and give input_scale=1.0.'
    )

  def build() -> MatchingPursuit:
    params = {name: jnp.asarray(tensors[name].read()) for name in ('W_dec', 'b_dec')}
    if not centred:
      params['b_dec'] = jnp.zeros_like(params['b_dec'])
    return MatchingPursuit(params, **settings)

  return build


def _read_temporal(
  where: str, fields: Fields, tensors: Tensors, facts: Facts, scale: float
) -> Callable[[], TemporalAutoencoder]:
  del facts
  width, features = fields.need('d_in'), fields.need('d_sae')
  layers, heads = fields.take('n_attn_layers', 1), fields.take('n_heads', 8)
  keys = features // fields.take('bottleneck_factor', 64)
  tied = fields.take('tied_weights', True)
  centred = fields.take('apply_b_dec_to_input', True)
  factor = fields.take('activation_normalization_factor', 1.0)
  is_scaled = fields.take('normalize_activations', 'none') == 'constant_scalar_rescale'
  normalize = fields.choose('normalize_activations', _NORMALIZE, 'none')
  fields.require('reshape_activations', 'none', default='none')
  kinds = {'relu': False, 'topk': True}
  k = fields.take('kval_topk')
  k = k if fields.choose('sae_diff_type', kinds, 'topk') else None
  check_shapes(where, tensors, _temporal_shapes(width, features, keys, layers, tied))

  def build() -> TemporalAutoencoder:
    get = lambda name: jnp.asarray(tensors[name].read())
    params: dict[str, Any] = {'W_dec': get('W_dec'), 'b_dec': get('b_dec')}
    if not tied:
      params['W_enc'] = get('W_enc')
    elif not centred:  # It is then neither subtracted nor added.
      params['b_dec'] = jnp.zeros_like(params['b_dec'])
    params['attention'] = [
      {
        f'{ours}_{kind}': get(f'attn_layers.{layer}.{name}.{theirs}').T
        for kind, name in _PROJECTIONS.items()
        for ours, theirs in (('W', 'weight'), ('b', 'bias'))
      }
      for layer in range(layers)
    ]
    whole = scale * (factor if is_scaled else 1.0)
    return TemporalAutoencoder(params, heads, k, centred, normalize, whole)

  return build


READERS = {'matching_pursuit': _read_pursuit, 'temporal': _read_temporal}


def _temporal_shapes(
  width: int, features: int, keys: int, layers: int, tied: bool
) -> Shapes:
  shapes: Shapes = {'W_dec': (features, width), 'b_dec': (width,)}
  if not tied:
    shapes['W_enc'] = (width, features)
  for layer in range(layers):
    for kind, name in _PROJECTIONS.items():
      out = keys if kind in 'QK' else features
      shapes[f'attn_layers.{layer}.{name}.weight'] = (out, features)
      shapes[f'attn_layers.{layer}.{name}.bias'] = (out,)
  return shapes


def describe(dictionary: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
  """The config and the tensors of one of these; None for other dictionaries.

  Raises:
    ValueError: if SAELens would compute something else.
  """
  if isinstance(dictionary, MatchingPursuit):
    return _describe_pursuit(dictionary)
  if isinstance(dictionary, TemporalAutoencoder):
    return _describe_temporal(dictionary)
  return None


def _describe_pursuit(pursuit: MatchingPursuit) -> tuple[dict[str, Any], dict]:
  tensors = {name: np.asarray(pursuit.params[name]) for name in ('W_dec', 'b_dec')}
  lengths = np.linalg.norm(tensors['W_dec'], axis=1)
  unit = pursuit.assume_unit or np.allclose(lengths, 1, atol=1e-5)
  if pursuit.orthogonal or not unit:
    raise ValueError(
      'sae_lens: SAELens pursues with each row of the decoder taken to have length 1, '
      'and never fits codes again. Give unit rows, or assume_unit=True, and '
      'orthogonal=False.'
    )
  cfg = _sizes(tensors['W_dec']) | {
    'architecture': 'matching_pursuit',
    'apply_b_dec_to_input': True,
    'max_iterations': pursuit.max_atoms,
    'residual_threshold': pursuit.residual_threshold,
    'stop_on_duplicate_support': pursuit.stop_on_duplicate,
  }
  return cfg, tensors


def _describe_temporal(temporal: TemporalAutoencoder) -> tuple[dict[str, Any], dict]:
  params = temporal.params
  names = [name for name in ('W_enc', 'W_dec', 'b_dec') if name in params]
  tensors = {name: np.asarray(params[name]) for name in names}
  for index, layer in enumerate(params['attention']):
    for kind, name in _PROJECTIONS.items():
      there = f'attn_layers.{index}.{name}'
      tensors[f'{there}.weight'] = np.asarray(layer[f'W_{kind}']).T
      tensors[f'{there}.bias'] = np.asarray(layer[f'b_{kind}'])
  if temporal.normalize != 'none' and temporal.input_scale != 1:
    raise ValueError('sae_lens: SAELens normalizes inputs or scales them, not both.')
  by_ours = {ours: theirs for theirs, ours in reversed(_NORMALIZE.items())}
  features = tensors['W_dec'].shape[0]
  keys = params['attention'][0]['W_Q'].shape[1] if params['attention'] else features
  scaled = temporal.input_scale != 1
  how = 'constant_scalar_rescale' if scaled else by_ours[temporal.normalize]
  tied = 'W_enc' not in params
  # A tied one that subtracts no bias adds none either, in SAELens.
  if tied and not temporal.subtract_b_dec and np.any(tensors['b_dec']):
    raise ValueError('sae_lens: SAELens has no tied dictionary that only adds b_dec.')
  cfg = _sizes(tensors['W_dec']) | {
    'architecture': 'temporal',
    'apply_b_dec_to_input': temporal.subtract_b_dec,
    'normalize_activations': how,
    'activation_normalization_factor': temporal.input_scale,
    'n_heads': temporal.heads,
    'n_attn_layers': len(params['attention']),
    'bottleneck_factor': features // keys,
    'sae_diff_type': 'relu' if temporal.k is None else 'topk',
    'kval_topk': temporal.k,
    'tied_weights': tied,
  }
  return cfg, tensors


def _sizes(W_dec: np.ndarray) -> dict[str, Any]:
  features, width = W_dec.shape
  return {
    'd_in': width,
    'd_sae': features,
    'normalize_activations': 'none',
    'reshape_activations': 'none',
  }
