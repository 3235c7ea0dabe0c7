"""TransformerLens's own checkpoints: its config's names, its tensors, our model."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.models import load, save_like
from interp_jax.models.tensor_files import write_tensors
from interp_jax.testing import tiny_model

FIELDS = {
  'n_layers': 3,
  'd_model': 12,
  'd_mlp': 20,
  'd_head': 4,
  'n_heads': 4,
  'n_ctx': 16,
  'd_vocab': 31,
  'act_fn': 'gelu',
  'attn_only': False,
  'normalization_type': 'LN',
  # Of the training; TransformerLens passes over them.
  'lr': 1e-3,
  'tokenizer_name': 'some/tokenizer',
}
# What the file's config says → what the model is.
KINDS = {
  'gelu': ({}, {'act': 'gelu'}),
  'solu': ({'act_fn': 'solu_ln'}, {'act': 'solu_ln'}),
  'attention only': ({'attn_only': True, 'd_mlp': None}, {'attn_only': True}),
  'shortformer': ({'shortformer_pos': True}, {'positions': 'shortformer'}),
  'folded': ({'normalization_type': 'LNPre'}, {}),
  'folded, older name': ({'normalization': 'LNPre'}, {}),
  'final rms': ({'final_rms': True}, {'final_rms': True}),
  'rms': ({'normalization_type': 'RMS'}, {'norm': 'rmsnorm'}),
  'grouped': ({'n_key_value_heads': 2}, {'kv_heads': 2}),
  'rotary': (
    {'positional_embedding_type': 'rotary', 'rotary_dim': 4, 'rotary_base': 99},
    {'positions': 'rotary', 'rotary_base': 99.0},
  ),
  'scale': ({'attn_scale': 4.0}, {'attn_scale': 0.25}),
  'no scale': ({'use_attn_scale': False}, {'attn_scale': 1.0}),
}


def published_names(model, params):
  """TransformerLens's state dict, of our parameters."""
  tensors = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    name = jax.tree_util.keystr(path, simple=True, separator='.')
    if model.cfg.kv_heads < model.cfg.heads:
      for kind in ('W_K', 'W_V', 'b_K', 'b_V'):
        name = name.replace(f'.{kind}', f'._{kind}')
    if not name.startswith('blocks.'):
      tensors[name] = leaf
      continue
    for layer, own in enumerate(leaf):
      tensors[name.replace('blocks.', f'blocks.{layer}.')] = own
  return {name: np.asarray(value) for name, value in tensors.items()}


def write(folder, fields, tensors):
  folder.mkdir()
  (folder / 'config.json').write_text(json.dumps(fields))
  shapes = {name: (value.shape, value.dtype) for name, value in tensors.items()}
  write_tensors(folder, shapes, tensors.__getitem__)
  return folder


@pytest.mark.parametrize('kind', KINDS)
def test_a_toy_model_is_the_model_that_its_config_describes(tmp_path, kind):
  given, options = KINDS[kind]
  model, params = tiny_model(**options, unembed_bias=True)
  folded = 'LNPre' in given.values()
  if folded:
    for name in ('ln1', 'ln2'):
      w, b = params['blocks'][name]['w'], params['blocks'][name]['b']
      params['blocks'][name] = {'w': jnp.ones_like(w), 'b': jnp.zeros_like(b)}
    params['ln_final'] = {'w': jnp.ones(12), 'b': jnp.zeros(12)}
  tensors = published_names(model, params)
  if folded:
    tensors = {n: t for n, t in tensors.items() if '.ln' not in n and 'ln_f' not in n}
  tensors['blocks.0.attn.mask'] = np.ones((16, 16), bool)  # A buffer.
  folder = write(tmp_path / 'model', FIELDS | given, tensors)
  got, got_params, _ = load(folder)
  jax.tree.map(np.testing.assert_array_equal, got_params, params)
  # The same config and the same parameters are the same function.
  width = {'mlp_width': model.cfg.mlp_width} if model.cfg.attn_only else {}
  assert dataclasses.replace(got.cfg, **width) == model.cfg


def test_what_is_written_back_is_what_was_read(tmp_path):
  model, params = tiny_model(unembed_bias=True)
  folder = write(tmp_path / 'model', FIELDS, published_names(model, params))
  got, got_params, _ = load(folder)
  twice = jax.tree.map(lambda p: 2 * p, got_params)
  save_like(tmp_path / 'twice', got, twice, like=folder)
  jax.tree.map(np.testing.assert_array_equal, load(tmp_path / 'twice')[1], twice)


@pytest.mark.parametrize(
  ('given', 'message'),
  [
    ({'gated_mlp': True}, r'gated_mlp=True is not supported.*b_in after the product'),
    ({'use_local_attn': True}, 'use_local_attn=True is not supported, only False'),
    ({'act_fn': 'gulu'}, r"Unknown act_fn 'gulu'. Did you mean 'gelu'"),
    ({'normalization_type': 'BN'}, r"Unknown normalization_type 'BN'"),
    ({'d_vocab_out': 7}, r'd_vocab_out=7 is not supported'),
  ],
)
def test_what_is_not_computed_is_refused(tmp_path, given, message):
  model, params = tiny_model(unembed_bias=True)
  tensors = published_names(model, params)
  folder = write(tmp_path / 'model', FIELDS | given, tensors)
  with pytest.raises(ValueError, match=message):
    load(folder)


def test_a_folded_file_is_written_back_unless_its_norms_were_edited(tmp_path):
  model, params = tiny_model(unembed_bias=True)
  tensors = published_names(model, params)
  tensors = {n: t for n, t in tensors.items() if '.ln' not in n and 'ln_f' not in n}
  fields = FIELDS | {'normalization_type': 'LNPre'}
  folder = write(tmp_path / 'model', fields, tensors)
  got, weights, _ = load(folder)
  save_like(tmp_path / 'same', got, weights, like=folder)
  jax.tree.map(np.testing.assert_array_equal, load(tmp_path / 'same')[1], weights)
  weights['blocks']['ln1']['w'] *= 2
  with pytest.raises(ValueError, match=r'blocks/ln1/w is no longer 1\.0 throughout'):
    save_like(tmp_path / 'edited', got, weights, like=folder)
