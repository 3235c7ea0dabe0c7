"""Random dictionaries of any config, nothing in them zero or one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.dictionaries import (
  Dictionary,
  DictionaryConfig,
  MatchingPursuit,
  TemporalAutoencoder,
)

WIDTH, FEATURES = 8, 24


def draw(config: DictionaryConfig, seed: int = 0) -> Dictionary:
  rng = np.random.default_rng(seed)
  one = lambda shape: jnp.asarray(rng.normal(size=shape) * 0.4, jnp.float32)
  is_shape = lambda x: isinstance(x, tuple)
  params = jax.tree.map(one, config.shapes(), is_leaf=is_shape)
  if 'threshold' in params:
    params['threshold'] = jnp.abs(params['threshold'])
  return Dictionary(params, config)


def inputs(shape: tuple[int, ...] = (WIDTH,), seed: int = 1) -> Any:
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(size=(6, *shape)) * 2 + 0.3, jnp.float32)


def pursuit(**settings: Any) -> MatchingPursuit:
  rng = np.random.default_rng(0)
  W_dec = rng.normal(size=(FEATURES, WIDTH))
  W_dec /= np.linalg.norm(W_dec, axis=1, keepdims=True)
  params = {'W_dec': W_dec, 'b_dec': rng.normal(size=WIDTH)}
  params = {name: jnp.asarray(value, jnp.float32) for name, value in params.items()}
  return MatchingPursuit(params, assume_unit=True, **settings)


def temporal(
  tied: bool = True, layers: int = 2, **settings: Any
) -> TemporalAutoencoder:
  rng = np.random.default_rng(0)
  one = lambda *shape: jnp.asarray(rng.normal(size=shape) * 0.5, jnp.float32)
  keys = 4
  params: dict[str, Any] = {'W_dec': one(FEATURES, WIDTH) * 2, 'b_dec': one(WIDTH)}
  if not tied:
    params['W_enc'] = one(WIDTH, FEATURES) * 2
  params['attention'] = [
    {
      'W_Q': one(FEATURES, keys),
      'W_K': one(FEATURES, keys),
      'W_V': one(FEATURES, FEATURES),
      'W_O': one(FEATURES, FEATURES),
      'b_Q': one(keys),
      'b_K': one(keys),
      'b_V': one(FEATURES),
      'b_O': one(FEATURES),
    }
    for _ in range(layers)
  ]
  return TemporalAutoencoder(params, heads=2, **settings)
