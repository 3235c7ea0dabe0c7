"""Rotary positions as config.json spells them, in its older and its newer way."""

from collections.abc import Mapping
import math
from typing import Any

from interp_jax.core import unknown
from interp_jax.models.families.fields import Fields
from interp_jax.models.rotary import SCALINGS, RotaryScaling

# Older files name them otherwise.
_ALIASES = {'su': 'longrope'}
_KNOWN = frozenset(
  {
    'attention_factor',
    'beta_fast',
    'beta_slow',
    'factor',
    'high_freq_factor',
    'long_factor',
    'low_freq_factor',
    'mscale',
    'mscale_all_dim',
    'original_max_position_embeddings',
    'partial_rotary_factor',
    'rope_theta',
    'rope_type',
    'short_factor',
    'truncate',
    'type',
  }
)


def rotary_fields(fields: Fields, head_dim: int, **default: Any) -> dict[str, Any]:
  """The rotary fields of a `TransformerConfig`.

  Takes `rope_parameters` (transformers 5), or `rope_theta`, `rope_scaling` and
  `partial_rotary_factor`.

  Args:
    fields: The config.json.
    head_dim: Width of a head.
    **default: The family's own `rope_theta` and `partial_rotary_factor`.

  Returns:
    Fields of the config.
  """
  rope = rope_parameters(fields, **default)
  share = rope.get('partial_rotary_factor', 1.0)
  return {
    'positions': 'rotary',
    'rotary_dim': int(head_dim * share),
    'rotary_base': float(rope['rope_theta']),
    'rotary_scaling': scaling(rope, fields),
  }


def rope_parameters(fields: Fields, **default: Any) -> dict[str, Any]:
  """All of them in one dict, as transformers 5 has them."""
  old = fields.take('rope_scaling') or {}
  new = fields.take('rope_parameters') or {}
  single = {name: fields.take(name) for name in ('rope_theta', 'partial_rotary_factor')}
  given = {name: value for name, value in single.items() if value is not None}
  return {'rope_theta': 10_000.0, **default, **given, **old, **new}


def scaling(rope: Mapping[str, Any], fields: Fields) -> RotaryScaling | None:
  """The stretching of the wavelengths, or None.

  Args:
    rope: One dict of rotary parameters.
    fields: The config.json, for its contexts.

  Returns:
    The scaling.

  Raises:
    ValueError: if the kind, or one of its parameters, is not known.
  """
  for name in rope:
    if name not in _KNOWN:
      raise ValueError('config.json: ' + unknown('rotary parameter', name, _KNOWN))
  kind = rope.get('rope_type') or rope.get('type') or 'default'
  kind = _ALIASES.get(kind, kind)
  if kind == 'default':
    return None
  if kind not in SCALINGS:
    raise ValueError('config.json: ' + unknown('rope_type', kind, SCALINGS))
  context = fields.take('max_position_embeddings', 0)
  original = rope.get('original_max_position_embeddings') or fields.take(
    'original_max_position_embeddings', context
  )
  if kind == 'dynamic':
    original = context
  factor = rope.get('factor')
  if factor is None:
    factor = context / original if original else 1.0
  names = ('low_freq_factor', 'high_freq_factor', 'beta_fast', 'beta_slow')
  given: dict[str, Any] = {n: float(rope[n]) for n in names if rope.get(n) is not None}
  return RotaryScaling(
    kind,
    float(factor),
    original,
    float(_attention_factor(kind, rope, factor, original)),
    short_factor=tuple(map(float, rope.get('short_factor', ()))),
    long_factor=tuple(map(float, rope.get('long_factor', ()))),
    truncate=rope.get('truncate', True),
    **given,
  )


def _attention_factor(
  kind: str, rope: Mapping[str, Any], factor: float, original: int
) -> float:
  """On rotated queries and keys: as given, or as the scaling's paper has it."""
  if kind not in ('yarn', 'longrope'):
    return 1.0
  if rope.get('attention_factor') is not None:
    return rope['attention_factor']
  if factor <= 1:
    return 1.0
  if kind == 'longrope':
    return math.sqrt(1 + math.log(factor) / math.log(original))
  one, all_dims = rope.get('mscale'), rope.get('mscale_all_dim')
  if one and all_dims:
    return (0.1 * one * math.log(factor) + 1) / (0.1 * all_dims * math.log(factor) + 1)
  return 0.1 * math.log(factor) + 1
