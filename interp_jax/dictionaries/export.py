"""From what trains to what is used: scales, norms, thresholds folded into weights."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from interp_jax.dictionaries.activation import BatchTopK, JumpReLU, TopK
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.dictionary import Dictionary

Params = dict[str, Any]


def export_params(
  config: DictionaryConfig, params: Params, scale: Any, least: Any = None
) -> Dictionary:
  """The dictionary for raw activations of what was trained on scaled ones.

  Args:
    config: What was trained.
    params: Parameters for data times `scale`.
    scale: `inputs` and `outputs`, the factors that training multiplied data by.
    least: The running threshold of a BatchTopK dictionary.

  Returns:
    The dictionary. BatchTopK becomes JumpReLU with that threshold; where features were
    chosen by their codes times norms, these are folded into the weights.
  """
  activation = config.activation
  if isinstance(activation, TopK | BatchTopK) and activation.by_norm:
    params = fold_norms(config, params)
    activation = dataclasses.replace(activation, by_norm=False)
    config = dataclasses.replace(config, activation=activation)
  if isinstance(activation, BatchTopK):
    params = params | {'threshold': jnp.full(config.code_shape, least)}
    config = dataclasses.replace(config, activation=JumpReLU())
  params = config.wiring.fold_scale(params, config.activation, scale)
  return Dictionary(params, config)


def fold_norms(config: DictionaryConfig, params: Params) -> Params:
  """Parameters whose decoder has rows of norm 1, and that compute the same outputs.

  The codes are multiplied by the norms that the rows had. What a row's norm is says the
  wiring.

  Args:
    config: The dictionary's.
    params: Its parameters.

  Raises:
    ValueError: if encoder and decoder are tied.
  """
  if 'W_enc' not in params:
    raise ValueError(
      'The norms of a tied dictionary cannot be folded: its encoder is its decoder. '
      'Train it with unit_norm=True and by_norm=False.'
    )
  W_dec, norms = params['W_dec'], config.wiring.norms(params)
  # A row of zeros stays one; its feature, times 0, is still never chosen.
  sizes = jnp.where(norms > 0, norms, 1)
  over_rows = lambda W, sizes: W / sizes.reshape(-1, *[1] * (W.ndim - 1))
  if isinstance(W_dec, dict):
    unit = {name: over_rows(W, sizes[int(name)]) for name, W in W_dec.items()}
  else:
    unit = over_rows(W_dec, sizes)
  W_enc = params['W_enc'] * jnp.expand_dims(norms, -2)
  params = config.activation.scale_features(params, norms)
  return params | {'W_enc': W_enc, 'W_dec': unit}
