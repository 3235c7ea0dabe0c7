"""What differs by layer besides the parameters, as data that the scan carries along."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.models import primitives
from interp_jax.models.config import PER_LAYER, TransformerConfig
from interp_jax.models.rotary import rotary_frequencies

# Wider than any sequence: the window of a layer that sees everything.
_NO_WINDOW = 2**30


def layer_constants(cfg: TransformerConfig, length: int) -> dict[str, jax.Array | None]:
  """The constants of all layers, each `[L, ...]`, or None where there are none.

  Args:
    cfg: The model's config.
    length: Number of positions of the run, cached ones included.

  Returns:
    'window' (in positions), 'attn_scale', and the rotary 'frequencies' `[L, half]` and
    'rotary_factor'.
  """
  dtype = primitives.wide(cfg.dtype)
  windows = [window or _NO_WINDOW for window in _spread(cfg, 'windows')]
  scales = [_attn_scale(cfg, scale) for scale in _spread(cfg, 'attn_scale')]
  constants: dict[str, jax.Array | None] = {
    'window': jnp.asarray(np.array(windows, np.int32)),
    'attn_scale': jnp.asarray(np.array(scales), dtype),
    'frequencies': None,
    'rotary_factor': None,
  }
  if cfg.positions == 'rotary':
    bases, scalings = _spread(cfg, 'rotary_base'), _spread(cfg, 'rotary_scaling')
    frequencies = [
      rotary_frequencies(cfg.rotary_dim, base, scaling, length)
      for base, scaling in zip(bases, scalings, strict=True)
    ]
    factors = [s.attention_factor if s else 1.0 for s in scalings]
    constants['frequencies'] = jnp.asarray(np.array(frequencies), dtype)
    constants['rotary_factor'] = jnp.asarray(np.array(factors), dtype)
  return constants


def first_layers(cfg: TransformerConfig, layers: int) -> dict[str, Any]:
  """The fields of a config of the first layers only."""
  values = {name: getattr(cfg, name) for name in PER_LAYER}
  cut = {k: v[:layers] for k, v in values.items() if isinstance(v, tuple)}
  return {'layers': layers, **cut}


def _spread(cfg: TransformerConfig, name: str) -> tuple:
  value = getattr(cfg, name)
  return value if isinstance(value, tuple) else (value,) * cfg.layers


def _attn_scale(cfg: TransformerConfig, scale: float | None) -> float:
  return cfg.head_dim**-0.5 if scale is None else scale
