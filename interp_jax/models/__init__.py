"""The transformer, its configs, weights on disk: published, saved and embedded.

`model, params, tokenizer = load(name)`, then
`logits, acts = model.apply({'params': params}, tokens, edits)`.
"""

from interp_jax.models.cache import Cache, empty_cache
from interp_jax.models.config import TransformerConfig
from interp_jax.models.files import list_models, load, save, save_like
from interp_jax.models.generate import Generated, generate
from interp_jax.models.pooling import pool
from interp_jax.models.processing import (
  center_unembed,
  center_writing_weights,
  fold_ln,
  fold_value_biases,
  process,
)
from interp_jax.models.published import read_config
from interp_jax.models.rotary import RotaryScaling
from interp_jax.models.tokenizer import Tokenizer
from interp_jax.models.transformer import (
  Acts,
  Transformer,
  init_params,
  truncate,
)

__all__ = [
  'Acts',
  'Cache',
  'Generated',
  'RotaryScaling',
  'Tokenizer',
  'Transformer',
  'TransformerConfig',
  'center_unembed',
  'center_writing_weights',
  'empty_cache',
  'fold_ln',
  'fold_value_biases',
  'generate',
  'init_params',
  'list_models',
  'load',
  'pool',
  'process',
  'read_config',
  'save',
  'save_like',
  'truncate',
]
