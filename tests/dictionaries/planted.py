"""Planted dictionaries: data whose features are known."""

import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax import dictionaries, store
from interp_jax.dictionaries import AuxK, DictionaryConfig, TopK, TrainerConfig

WIDTH, FEATURES, ACTIVE = 24, 48, 3


class Planted(NamedTuple):
  """Rows `[N, D]` that are sums of a few of the directions `[F, D]`."""

  rows: np.ndarray
  directions: np.ndarray


def plant(rows: int, seed: int = 0, offset: float = 0.0) -> Planted:
  directions = np.random.default_rng(99).standard_normal((FEATURES, WIDTH))
  directions /= np.linalg.norm(directions, axis=1, keepdims=True)
  rng = np.random.default_rng(seed)
  codes = np.zeros((rows, FEATURES))
  chosen = rng.random((rows, FEATURES)).argsort(1)[:, :ACTIVE]
  np.put_along_axis(codes, chosen, rng.uniform(0.5, 1.5, (rows, ACTIVE)), 1)
  return Planted((codes @ directions + offset).astype(np.float32), directions)


def random_dictionary(
  activation: Any, width: int = 8, features: int = 20, seed: int = 0
) -> dictionaries.Dictionary:
  rng = np.random.default_rng(seed)
  config = DictionaryConfig(width, features, activation)
  is_shape = lambda shape: isinstance(shape, tuple)
  draw = lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
  shapes = config.shapes()
  first = [name for name in ('W_enc', 'b_enc', 'W_dec', 'b_dec') if name in shapes]
  names = dict.fromkeys([*first, *shapes])
  params = {n: jax.tree.map(draw, shapes[n], is_leaf=is_shape) for n in names}
  return dictionaries.Dictionary(params, config)


@jax.jit
def codes_of(dictionary: Any, x: Any) -> jax.Array:
  """What `encode` gives, as one program: called plainly, each operation is compiled."""
  return dictionary.encode(x)


@jax.jit
def outputs_of(dictionary: Any, x: Any) -> jax.Array:
  """What a call gives, as one program."""
  return dictionary(x)


def small_config(**changes: Any) -> DictionaryConfig:
  given = {'width': WIDTH, 'features': FEATURES, 'activation': TopK(ACTIVE)}
  return DictionaryConfig(**(given | changes))


def small_trainer(**changes: Any) -> TrainerConfig:
  given = {
    'steps': 12,
    'batch_size': 64,
    'learning_rate': 3e-3,
    'terms': (AuxK(dead_after=200),),
    'log_every': 4,
    'eval_every': 0,
    'checkpoint_every': 0,
  }
  return TrainerConfig(**(given | changes))


def write_store(path: pathlib.Path, rows: np.ndarray) -> store.Reader:
  """Rows as a dataset: 10 rows to a document, token = row index modulo 7."""
  spec = store.ArraySpec('resid_post', 1, rows.shape[1:])
  index = np.arange(len(rows), dtype=np.int32)
  where = np.stack([index // 10, index % 10, index % 7], 1)
  with store.Writer(path, store.make_schema([spec], 16, 64), description='t') as writer:
    writer.append({spec.name: rows}, where)
  return store.Reader(path)
