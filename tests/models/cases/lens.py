"""TransformerLens's own models, which have no `model_type`; not in transformers."""

from collections.abc import Mapping
from typing import Any

from tests.models.cases.case import Case

_LENS = {
  'act_fn': 'gelu',
  'attn_only': False,
  'd_head': 6,
  'd_mlp': 27,
  'd_model': 20,
  'd_vocab': 61,
  'n_ctx': 31,
  'n_heads': 5,
  'n_layers': 3,
  'normalization_type': 'LN',
}
_LENS_OPTIONS: Mapping[str, Mapping[str, Any]] = {
  'gelu': {},
  'solu': {'act_fn': 'solu_ln'},
  'attn-only': {'attn_only': True, 'd_mlp': None},
  'shortformer': {'positional_embedding_type': 'shortformer'},
  'final-rms': {'final_rms': True, 'act_fn': 'solu'},
  'folded': {'normalization_type': 'LNPre'},
  'rms': {'normalization_type': 'RMS', 'act_fn': 'silu'},
  'no-norm': {'normalization_type': None, 'act_fn': 'relu'},
  'rotary': {'positional_embedding_type': 'rotary', 'rotary_dim': 4},
  'pairs': {
    'positional_embedding_type': 'rotary',
    'rotary_dim': 6,
    'rotary_adjacent_pairs': True,
    'rotary_base': 1000,
    'parallel_attn_mlp': True,
  },
}
LENS = [
  Case(f'lens-{name}', {**_LENS, **fields}, True)
  for name, fields in _LENS_OPTIONS.items()
]
