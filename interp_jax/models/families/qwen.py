"""Qwen 2, 2.5 and 3 (arXiv:2407.10671, 2412.15115, 2505.09388)."""

from collections.abc import Set
from typing import Any

from interp_jax.models.families.family import Family
from interp_jax.models.families.fields import Fields
from interp_jax.models.families.llama import UNUSED, decoder_fields, rows, windows


def _qwen2(fields: Fields, names: Set[str]) -> dict[str, Any]:
  del names
  return {**decoder_fields(fields), 'qkv_bias': True, 'windows': _windows(fields)}


def _qwen3(fields: Fields, names: Set[str]) -> dict[str, Any]:
  del names
  bias = fields.take('attention_bias', False)
  return {
    **decoder_fields(fields, head_dim=128),
    'qkv_bias': bias,
    'attn_out_bias': bias,
    'qk_norm': 'head',
    'windows': _windows(fields),
  }


def _windows(fields: Fields) -> Any:
  """The layers from `max_window_layers` on see a window, if windows are used."""
  layers, first = fields.need('num_hidden_layers'), fields.take('max_window_layers', 28)
  sliding, window = (
    fields.take('use_sliding_window', False),
    fields.take('sliding_window'),
  )
  kinds = ['full_attention'] * first + ['sliding_attention'] * (layers - first)
  return windows(fields, kinds[:layers], window if sliding else None)


QWEN2 = Family('Qwen 2, 2.5', ('qwen2',), _qwen2, rows, 'model.', UNUSED)
QWEN3 = Family('Qwen 3', ('qwen3',), _qwen3, rows, 'model.', UNUSED)
