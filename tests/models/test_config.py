"""A config is a value: it round-trips, and refuses what makes no sense."""

import dataclasses
import json

import pytest

from interp_jax.models import TransformerConfig
from interp_jax.testing.tiny import TINY


def config(**options):
  return TransformerConfig(**(TINY | options))


@pytest.mark.parametrize(
  'options',
  [
    {},
    {'positions': 'rotary', 'windows': (2, None, 3), 'rotary_base': (9.0, 8.0, 7.0)},
    {'attn_only': True, 'mlp_width': 0, 'windows': 4, 'attn_softcap': 50.0},
  ],
)
def test_a_config_survives_json(options):
  cfg = config(**options)
  again = TransformerConfig.from_dict(json.loads(json.dumps(cfg.to_dict())))
  assert again == cfg
  assert hash(again) == hash(cfg)


def test_fields_left_out_take_their_defaults():
  cfg = TransformerConfig.from_dict(TINY)
  assert cfg == config()
  assert cfg.kv_heads == cfg.heads
  assert cfg.rotary_dim == cfg.head_dim


def test_a_config_is_frozen():
  with pytest.raises(dataclasses.FrozenInstanceError):
    config().width = 3


NONSENSE = {
  'layers=0 must be at least 1': {'layers': 0},
  'vocab_size=-1 must be at least 1': {'vocab_size': -1},
  'kv_heads=-2 must be at least 1': {'kv_heads': -2},
  'kv_heads=3 must divide heads=4': {'kv_heads': 3},
  'kv_heads=8 must divide heads=4': {'kv_heads': 8},
  'mlp_width=0: give the width of the MLP, or attn_only=True': {'mlp_width': 0},
  'rotary_dim=3 must be even': {'positions': 'rotary', 'rotary_dim': 3},
  'rotary_dim=6 must be even and at most': {'positions': 'rotary', 'rotary_dim': 6},
  'windows has 2 entries for 3 layers': {'windows': (2, 3)},
  'windows=0: give positive numbers': {'windows': 0},
  r'windows=\(2, None, -1\): give positive numbers': {'windows': (2, None, -1)},
  'rotary_base has 1 entries for 3': {'positions': 'rotary', 'rotary_base': (5.0,)},
  'attn_softcap=0.0: give positive numbers, or None': {'attn_softcap': 0.0},
  "Unknown norm 'layer_norm'. Did you mean 'layernorm'": {'norm': 'layer_norm'},
  "Unknown act 'geluu'. Did you mean 'gelu'": {'act': 'geluu'},
  "Unknown positions 'rope'.*Valid: learned, shortformer": {'positions': 'rope'},
  "Unknown dtype 'int8'": {'dtype': 'int8'},
}


@pytest.mark.parametrize('message', NONSENSE)
def test_what_makes_no_sense_is_refused(message):
  with pytest.raises(ValueError, match=message):
    config(**NONSENSE[message])


def test_all_problems_are_told_at_once():
  with pytest.raises(ValueError, match=r'Unknown norm.*width=0.*kv_heads=3'):
    config(norm='x', width=0, kv_heads=3)


def test_an_unknown_field_suggests_the_right_one():
  with pytest.raises(ValueError, match=r"'kv_head'\. Did you mean 'kv_heads'"):
    TransformerConfig.from_dict(TINY | {'kv_head': 2})
