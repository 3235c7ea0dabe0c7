"""Positions that need not be run again: in a causal model, those before an edit.

What the later positions read of the earlier ones is, in every layer, their keys and
values; both are sites, so that the activations of one run are the cache of another.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from interp_jax.models.cache import KeysValues
from interp_jax.models.config import TransformerConfig


def restart_sites(cfg: TransformerConfig) -> tuple[str, ...]:
  """The sites that stand for earlier positions, keys and then values.

  Returns:
    Their names; none for models that cannot be run from a position on: bidirectional
    ones, and those whose keys, as attention reads them, are no site (normed, but not
    rotated).
  """
  if not cfg.causal or (cfg.qk_norm != 'none' and cfg.positions != 'rotary'):
    return ()
  return ('rot_k' if cfg.positions == 'rotary' else 'k', 'v')


def count_before(
  cfg: TransformerConfig, before: Mapping[str, Any] | None, batch: int
) -> int:
  """The number of earlier positions that a run is given.

  Raises:
    ValueError: if the model cannot be run from a position on, or what is given is not
      what it reads.
  """
  if before is None:
    return 0
  sites = restart_sites(cfg)
  if not sites:
    raise ValueError(
      'before: this model is bidirectional, or norms keys without rotating them; it '
      'cannot be run from a position on.'
    )
  shapes = {site: jnp.shape(before[site]) for site in sites if site in before}
  number = next(iter(shapes.values()), (0, 0, 0))[2]
  expected = (cfg.layers, batch, number, cfg.kv_heads, cfg.head_dim)
  if len(shapes) < 2 or set(shapes.values()) != {expected}:
    raise ValueError(
      f'before: need the activations of {" and ".join(map(repr, sites))} at the '
      'earlier positions, each [L, B, earlier positions, G, K], as '
      f'{expected}; got {shapes}.'
    )
  return number


def keys_values(
  cfg: TransformerConfig, before: Mapping[str, Any] | None, length: int
) -> KeysValues | None:
  """The earlier positions as a cache with room for `length` more."""
  if before is None:
    return None
  room = [(0, 0), (0, 0), (0, length), (0, 0), (0, 0)]
  keys, values = (
    jnp.pad(jnp.asarray(before[site], cfg.dtype), room) for site in restart_sites(cfg)
  )
  return KeysValues(keys, values)
