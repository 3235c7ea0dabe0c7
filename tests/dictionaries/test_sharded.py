"""Dictionaries over many devices: the same step, whatever the mesh."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import dictionaries, training
from interp_jax.dictionaries import initial
from interp_jax.dictionaries import step as step_lib
from interp_jax.dictionaries.trainer import as_pair, dictionary_rules, plan_of
from interp_jax.sharding import make_mesh, shardings, spec_tree
from tests.dictionaries.architectures import ARCHITECTURES, FEATURES, SOURCES, WIDTH
from tests.dictionaries.runs import StopsAt, assert_close
from tests.slow import slow_but


def first_state(architecture, settings):
  config, rows = architecture.config, architecture.rows()
  inputs, targets = as_pair(rows)
  scale = initial.measure(inputs, targets=targets)
  return step_lib.init_state(config, settings, scale)


def advance(architecture, settings, state, mesh, count):
  """Some steps on a mesh, or on one device."""
  config = architecture.config
  layout = None
  if mesh is not None:
    layout = shardings(mesh, dictionary_rules(config), state)
    state = jax.device_put(state, layout)
  step = step_lib.make_step(config, settings, plan_of(settings, mesh))
  compiled = training.compile_step(step, mesh, layout, donate=False)
  batches, metrics = architecture.batches(), {}
  for _ in range(count):
    state, metrics = compiled(state, training.place_batch(next(batches), mesh))
  return state, metrics


def skipping():
  """A cross-layer transcoder with a skip connection, which no other test splits."""
  wiring = dictionaries.CrossLayerTranscoder(SOURCES, use_skip=True)
  return ARCHITECTURES['cross_layer_topk']._replace(wiring=wiring)


@pytest.mark.parametrize('optimizer', ['adam', 'signum'])
@pytest.mark.parametrize('name', [*ARCHITECTURES, 'cross_layer_skip'])
def test_every_leaf_of_a_state_has_a_rule_and_is_split_if_it_is_large(name, optimizer):
  architecture = skipping() if name == 'cross_layer_skip' else ARCHITECTURES[name]
  settings = architecture.settings(optimizer=optimizer)
  state = jax.eval_shape(lambda: first_state(architecture, settings))
  specs = spec_tree(dictionary_rules(architecture.config), state)
  leaves = zip(
    jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(specs), strict=True
  )
  for (path, leaf), spec in leaves:
    axes = [axis for axis, size in enumerate(leaf.shape) if size == FEATURES]
    if not axes and 'W_skip' in jax.tree_util.keystr(path):
      axes = [leaf.ndim - 2]
    given = [axis for axis, entry in enumerate(spec) if entry == 'model']
    assert given == axes, (path, leaf.shape, spec)
    assert axes or leaf.size <= SOURCES * WIDTH, (path, leaf.shape)


@pytest.mark.parametrize(
  'name',
  slow_but(ARCHITECTURES, 'topk', 'batchtopk', 'jumprelu', 'gated', 'crosscoder'),
)
def test_a_step_on_eight_devices_equals_one_on_one_device(name):
  architecture = ARCHITECTURES[name]
  settings = architecture.settings()
  state = first_state(architecture, settings)
  alone, metrics = advance(architecture, settings, state, None, 1)
  mesh = make_mesh(data=4, model=2)
  many, same = advance(architecture, settings, state, mesh, 1)
  assert len(many.params['b_dec'].sharding.device_set) == 8
  assert 'model' in str(jax.tree.leaves(many.params['W_dec'])[0].sharding.spec)
  assert_close(metrics, same, rtol=2e-5, atol=1e-6)
  # Adam's first update is the sign of the gradient, nearly: its moments are compared.
  assert_close(alone.opt_state, many.opt_state, rtol=1e-4, atol=1e-5)
  np.testing.assert_array_equal(alone.idle, many.idle)


def test_a_mesh_of_one_device_is_computed_as_one_device():
  settings = ARCHITECTURES['batchtopk'].settings(impl='sparse')
  one = plan_of(settings, make_mesh(devices=jax.devices()[:1]))
  assert one == plan_of(settings, None)
  assert one.sparse
  assert not plan_of(settings, make_mesh(devices=jax.devices()[:2])).sparse


def test_a_run_goes_on_on_another_mesh(tmp_path):
  architecture = ARCHITECTURES['topk']
  settings = architecture.settings(checkpoint_every=5)

  def run(folder, mesh, stop=None):
    batches = architecture.batches()
    if stop is not None:
      batches = StopsAt(batches, stop)
    return dictionaries.train(
      architecture.config,
      settings,
      batches,
      architecture.rows(),
      folder,
      mesh=mesh,
      progress=False,
    )

  whole = run(tmp_path / 'whole', None)
  with pytest.raises(KeyboardInterrupt):
    run(tmp_path / '4x2', make_mesh(data=4, model=2), stop=7)
  for mesh in (make_mesh(data=2, model=2, devices=jax.devices()[:4]), None):
    folder = shutil.copytree(tmp_path / '4x2', tmp_path / f'{mesh is None}')
    parts = run(folder, mesh)
    assert_close(whole.state.params, parts.state.params, rtol=1e-3, atol=1e-4)


def test_members_of_a_sweep_may_be_split_over_devices(tmp_path):
  architecture = ARCHITECTURES['topk']
  members = dictionaries.grid({'seed': (0, 1), 'activation.k': (2, 3)})

  def run(name, mesh, over):
    return dictionaries.train_sweep(
      architecture.config,
      architecture.settings(steps=3),
      members,
      architecture.batches(),
      architecture.rows(),
      tmp_path / name,
      mesh=mesh,
      over=over,
      progress=False,
    )

  one = run('one', None, 'map')
  many = run('many', make_mesh(data=2, model=4), 'vmap')
  assert jnp.ndim(many.state.step) == 1
  assert len(many.state.idle.sharding.device_set) == 8
  assert_close(one.state.params, many.state.params, rtol=1e-3, atol=1e-4)
