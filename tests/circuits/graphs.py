"""Tiny models of several shapes in float64, and two runs of each, for graph tests."""

import functools
from typing import Any, NamedTuple

import numpy as np

from interp_jax import circuits
from interp_jax.testing import tiny_model

ROTARY = {
  'norm': 'rmsnorm',
  'positions': 'rotary',
  'kv_heads': 1,
  'gated': True,
  'qkv_bias': False,
  'attn_out_bias': False,
  'mlp_bias': False,
}
FAMILIES: dict[str, dict[str, Any]] = {
  'gpt2': {},
  'llama': {**ROTARY, 'act': 'silu'},
  'gemma2': {
    **ROTARY,
    'norm_placement': 'sandwich',
    'act': 'gelu_tanh',
    'attn_softcap': 5.0,
    'logit_softcap': 3.0,
    'windows': (None, 3),
  },
  'olmo2': {'norm': 'rmsnorm', 'norm_placement': 'post', 'qk_norm': 'width'},
  'sandwich': {'norm_placement': 'sandwich', 'kv_heads': 1, 'qk_norm': 'width'},
  'falcon': {'parallel': True, 'shared_norm': True, 'positions': 'alibi'},
  'attn-only': {'attn_only': True, 'positions': 'shortformer'},
  'compiled': {'causal': False, 'norm': 'none', 'act': 'relu', 'final_norm': False},
  'mixture': {**ROTARY, 'experts': 3, 'experts_per_token': 2, 'act': 'silu'},
}
SMALL = {'layers': 2, 'heads': 2, 'head_dim': 4, 'width': 8, 'mlp_width': 12}
DOUBLE = {'dtype': 'float64', 'param_dtype': 'float64'}


class Pair(NamedTuple):
  """A model, its graph, a clean and a corrupted batch `[2, 5]`, and both runs."""

  model: Any
  params: Any
  graph: circuits.Graph
  clean: np.ndarray
  corrupt: np.ndarray
  metric: Any
  own: circuits.GraphRun
  other: circuits.GraphRun

  @property
  def args(self):
    return self.model, self.params, self.clean

  @property
  def base(self):
    return float(self.metric(self.own.logits, {}))


@functools.cache
def make_pair(name: str) -> Pair:
  """The pair of a family; use it under `double` only."""
  model, params = tiny_model(**{**SMALL, **FAMILIES[name]}, **DOUBLE)
  rng = np.random.default_rng(3)
  clean, corrupt = rng.integers(0, 31, (2, 2, 5))
  metric = circuits.logit_difference(*rng.integers(0, 31, (2, 2)))
  run = functools.partial(circuits.graph_run, model, params)
  graph = circuits.make_graph(model.cfg)
  return Pair(model, params, graph, clean, corrupt, metric, run(clean), run(corrupt))
