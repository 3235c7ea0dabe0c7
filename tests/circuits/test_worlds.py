"""The one program that every world of a sweep runs through."""

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
import pytest

from interp_jax import circuits, edits, sharding
from interp_jax.circuits import worlds
from interp_jax.circuits.restart import Base
from interp_jax.models import Transformer, TransformerConfig, init_params

WORLDS, BATCH, LENGTH = 32, 2, 16


def compiled(layers, mesh=None):
  """The program of 32 patches of a layer, restarted there, and its arguments."""
  cfg = TransformerConfig(
    vocab_size=64, width=32, layers=layers, heads=4, head_dim=8, mlp_width=128
  )
  model = Transformer(cfg)
  params = jax.eval_shape(lambda: init_params(model))
  tokens = jax.ShapeDtypeStruct((BATCH, LENGTH), jnp.int32)
  shape = (layers, BATCH, LENGTH, 32)
  value = jax.ShapeDtypeStruct(shape, jnp.float32)
  grid = circuits.make_grid('resid_pre', shape, ('layer', 'position', 'unit'))
  metric = circuits.logit_difference(np.zeros(BATCH, int), np.ones(BATCH, int))
  points = jax.ShapeDtypeStruct((WORLDS, 3), jnp.int32)
  base = Base(tokens, {}, None, {'resid_pre': value})
  arguments = [params, metric, circuits.PatchPoint(value, None, grid), base]
  arguments += [jax.ShapeDtypeStruct((), jnp.int32)]
  if mesh is not None:
    arguments = jax.tree.map(lambda a: _placed(a, mesh, PartitionSpec()), arguments)
    points = _placed(points, mesh, PartitionSpec('data'))
  return worlds._run_chunk.lower(model, 0, *arguments, points).compile()


def _placed(leaf, mesh, spec):
  sharded = NamedSharding(mesh, spec)
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharded)


def test_depth_costs_neither_program_nor_memory_and_no_activation_is_kept():
  shallow, deep = compiled(4), compiled(24)
  lines = [len(program.as_text().splitlines()) for program in (shallow, deep)]
  assert lines[1] < 1.1 * lines[0]
  temporary = [p.memory_analysis().temp_size_in_bytes for p in (shallow, deep)]
  # One activation of the width of the stream, of one layer, in all worlds. Were one
  # kept for all layers, it alone would take 24 of these, and 20 more than for 4 layers.
  stream = WORLDS * BATCH * LENGTH * 32 * 4
  assert temporary[1] < 18 * stream
  assert temporary[1] - temporary[0] < 5 * stream  # The masks, [W, L, 1, T, D].


def test_devices_do_not_talk_to_each_other():
  text = compiled(4, sharding.make_mesh()).as_text()
  talk = ('all-gather', 'all-reduce', 'all-to-all', 'collective-permute')
  assert not [word for word in talk if word in text]


def test_any_edits_can_be_worlds(setting):
  factors = np.array([0.0, 0.5, 1.0], np.float32)
  values = circuits.run_worlds(
    setting.model,
    setting.params,
    setting.base,
    lambda factor: {'mlp_out': edits.Scale(factor)},
    factors,
    setting.metric,
    chunk=2,
    progress=False,
  )
  for factor, value in zip(factors, values, strict=True):
    logits, acts = setting.apply(setting.base, {'mlp_out': edits.Scale(factor)})
    assert value == pytest.approx(float(setting.metric(logits, acts)), abs=1e-5)
