"""A tiny model, and two runs of it that differ in one token."""

from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from interp_jax import circuits
from interp_jax.models import Transformer, TransformerConfig, init_params


class Setting(NamedTuple):
  """A model, two batches `[2, 6]` that differ at position 2, and the jitted model."""

  model: Transformer
  params: Any
  base: np.ndarray
  source: np.ndarray
  metric: Any
  apply: Any


def make_setting(**options) -> Setting:
  cfg = TransformerConfig(
    vocab_size=40,
    width=16,
    layers=3,
    heads=4,
    head_dim=4,
    mlp_width=24,
    **({'positions': 'learned', 'norm': 'rmsnorm'} | options),
  )
  model = Transformer(cfg)
  rng = np.random.default_rng(0)
  base = rng.integers(0, 40, (2, 6))
  source = base.copy()
  source[:, 2] = (source[:, 2] + 7) % 40
  metric = circuits.logit_difference(rng.integers(0, 20, 2), rng.integers(20, 40, 2))
  params = init_params(model, 1)
  run = jax.jit(model.apply)
  apply = lambda tokens, e=None, **kw: run({'params': params}, tokens, e, **kw)
  return Setting(model, params, base, source, metric, apply)


@pytest.fixture(scope='session')
def setting() -> Setting:
  return make_setting()
