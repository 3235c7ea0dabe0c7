"""Tiny random models whose every part matters, and comparison of activations."""

from collections.abc import Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import unknown
from interp_jax.models import Transformer, TransformerConfig, init_params

TINY = {
  'vocab_size': 31,
  'width': 12,
  'layers': 3,
  'heads': 4,
  'head_dim': 4,
  'mlp_width': 20,
  'context': 16,
}


def tiny_model(seed: int = 0, **options: Any) -> tuple[Transformer, dict[str, Any]]:
  """A model small enough to run in milliseconds, with random parameters.

  Args:
    seed: Of the parameters.
    **options: Fields of `TransformerConfig` that differ from `TINY` and its defaults.

  Returns:
    `model, params`.
  """
  fields: dict[str, Any] = {**TINY, **options}
  model = Transformer(TransformerConfig(**fields))
  return model, random_params(model, seed)


def random_params(
  model: Transformer, seed: int = 0, std: float = 0.3
) -> dict[str, Any]:
  """Parameters that hide no mistake: gains, biases and weights all drawn at random.

  Parameters as they are initialised are nearly zero in places (biases) and one in
  others (gains), so that a forgotten term or a wrong axis can agree by chance.

  Args:
    model: The model.
    seed: Of the draws.
    std: Deviation of every parameter; gains are around 1.

  Returns:
    The parameters.
  """
  rng = np.random.default_rng(seed)

  def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> jax.Array:
    mean = 1.0 if path[-1].key == 'w' else 0.0
    return jnp.asarray(rng.normal(mean, std, leaf.shape), leaf.dtype)

  # Shapes only, and numpy's draws: compiling the initialisation takes seconds.
  shapes = jax.eval_shape(lambda: init_params(model))
  return jax.tree_util.tree_map_with_path(draw, shapes)


def assert_acts_close(
  actual: Mapping[str, Any],
  expected: Mapping[str, Any],
  rtol: float = 1e-5,
  atol: float = 1e-5,
) -> None:
  """Checks that two sets of activations agree at every site.

  Args:
    actual: Site → activation.
    expected: Site → activation, with the same sites.
    rtol: Relative tolerance.
    atol: Absolute tolerance.

  Raises:
    AssertionError: if sites differ, or activations do; it names the site.
  """
  for site in expected:
    if site not in actual:
      raise AssertionError(unknown('site', site, actual))
  chex.assert_trees_all_close(
    *({k: _finite(v) for k, v in acts.items()} for acts in (actual, expected)),
    rtol=rtol,
    atol=atol,
  )


def _finite(act: Any) -> np.ndarray:
  """Masked scores are -inf, whose differences are NaN; a finite stand-in compares."""
  return np.where(np.isneginf(act), -1e30, act)
