"""sparsify (EleutherAI): a folder for each place, `layers.10` or `layers.3.mlp`.

`cfg.json` and `sae.safetensors`; `config.json` of the training run lies in the folder
above. An autoencoder reads `x - b_dec`, but its skip connection, where it has one,
reads `x`: such a one is read as a transcoder with `b_enc - b_dec W_enc` for `b_enc`.
"""

from collections.abc import Mapping
import json
import pathlib
import re
from typing import Any

import jax.numpy as jnp

from interp_jax.core import Fields
from interp_jax.dictionaries.activation import GroupMax, TopK
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.dictionary import Dictionary
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
)
from interp_jax.dictionaries.formats.stored import from_safetensors
from interp_jax.dictionaries.wiring import Autoencoder, Transcoder

CONFIG, WEIGHTS = 'cfg.json', 'sae.safetensors'
# What a module of a layer reads, and what it writes.
_MODULES = {
  None: ('resid_pre', 'resid_post'),
  'mlp': ('ln2.normalized', 'mlp_out'),
  'self_attn': ('ln1.normalized', 'attn_out'),
  'attn': ('ln1.normalized', 'attn_out'),
  'attention': ('ln1.normalized', 'attn_out'),
}
_ACTIVATIONS = {'topk': TopK, 'groupmax': GroupMax}


def find(path: pathlib.Path) -> list[pathlib.Path]:
  """The folders with both files."""
  return folders_with(path, CONFIG, WEIGHTS)


def read(path: pathlib.Path, facts: Facts) -> Found:
  """An autoencoder or a transcoder, with a skip connection or without."""
  fields = Fields.read(path / CONFIG)
  width = fields.need('d_in')
  expanded = width * fields.take('expansion_factor', 32)
  features = fields.take('num_latents', 0) or expanded
  activation = fields.choose('activation', _ACTIVATIONS, 'topk')(fields.take('k', 32))
  skip = fields.take('skip_connection', False)
  transcode = fields.take('transcode', False)
  fields.require('signed', False, default=False)  # Of versions before 1.0.
  fields.ignore('normalize_decoder', 'multi_topk')
  fields.finish(facts.ignore_fields)
  site, out_site, layer = _place(path.name, transcode)
  config = DictionaryConfig(
    width,
    features,
    activation,
    Transcoder(use_skip=skip) if transcode or skip else Autoencoder(),
    **facts.place(site, layer, out_site),
  )
  load = open_tensors(str(path), from_safetensors(path / WEIGHTS), _table(skip), config)

  def build() -> Dictionary:
    params = load()
    if skip and not transcode:
      params['b_enc'] = params['b_enc'] - params['b_dec'] @ params['W_enc']
    return Dictionary(params, config)

  run = path.parent / 'config.json'
  training = Fields.read(run).values if run.is_file() else {}
  foreign = fields.values | {'training': training}
  context = training.get('ctx_len')
  return Found(metadata_of('sparsify', foreign, training.get('model'), context), build)


def _table(skip: bool) -> list[Row]:
  table = [
    Row('encoder.weight', 'W_enc', TRANSPOSED),
    *rows('W_dec b_dec', b_enc='encoder.bias'),
  ]
  return [*table, Row('W_skip', 'W_skip', TRANSPOSED)] if skip else table


def _place(name: str, transcode: bool) -> tuple[str | None, str | None, int | None]:
  """What a module's name says: the site read, the site written, the layer."""
  if name in ('embed_tokens', 'wte', 'embed_in'):
    return 'embed', None, None
  match = re.fullmatch(r'(?:.*\.)?(?:layers|h)[._](\d+)(?:\.(\w+))?', name)
  if match is None:
    return None, None, None
  layer, kind = int(match[1]), _MODULES.get(match[2])
  read, written = kind or (None, None)
  return (read, written, layer) if transcode else (written, None, layer)


def write(path: pathlib.Path, dictionary: Any, metadata: Mapping[str, Any]) -> None:
  """Writes a folder for `SparseCoder.load_from_disk`."""
  del metadata  # It has no place for any.
  config = getattr(dictionary, 'config', None)
  if not isinstance(config, DictionaryConfig) or not _fits(config):
    raise ValueError(
      'sparsify: it has autoencoders that subtract b_dec and transcoders of one width, '
      'with activation topk or groupmax, and no place for input normalization or '
      f'joined heads. This is {config or type(dictionary).__name__}.'
    )
  wiring = config.wiring
  transcode = isinstance(wiring, Transcoder)
  skip = transcode and wiring.use_skip
  params = dict(dictionary.params)
  if isinstance(wiring, Autoencoder) and wiring.tied:
    params['W_enc'] = jnp.asarray(params['W_dec']).T
  cfg = {
    'activation': config.activation.name,
    'expansion_factor': config.features // config.width,
    'normalize_decoder': False,
    'num_latents': config.features,
    'k': config.activation.sparse_k,
    'multi_topk': False,
    'skip_connection': skip,
    'transcode': transcode,
    'd_in': config.width,
  }
  path.mkdir(parents=True, exist_ok=True)
  write_tensors(path / WEIGHTS, tensors_for(_table(skip), params))
  (path / CONFIG).write_text(json.dumps(cfg, indent=2) + '\n', encoding='utf-8')


def _fits(config: DictionaryConfig) -> bool:
  wiring, activation = config.wiring, config.activation
  if config.normalize != 'none' or config.joins_heads:
    return False
  if type(activation) not in (TopK, GroupMax) or getattr(activation, 'by_norm', False):
    return False
  if isinstance(wiring, Transcoder):
    return config.out_shape == config.in_shape
  return isinstance(wiring, Autoencoder) and wiring.subtract_b_dec


SPARSIFY = Format('sparsify', find, read, write)
