"""Programs on eight simulated devices: what they send is what they are designed to."""

import dataclasses

import jax
import pytest

from interp_jax import programs
from interp_jax.dictionaries import (
  Autoencoder,
  AuxK,
  Crosscoder,
  CrossLayerTranscoder,
  DictionaryConfig,
  TopK,
  TrainerConfig,
  Transcoder,
)
from interp_jax.models import TransformerConfig
from interp_jax.programs.program import Allowed
from interp_jax.sharding import make_mesh
from interp_jax.sharding.collectives import Collective, find_collectives
from interp_jax.sharding.costs import count
from interp_jax.sharding.hlo import Shape, parse
from interp_jax.training import OptimizerConfig

# Large enough that none of what is designed is as small as a few numbers.
D, F, ROWS = 64, 1024, 256
WIRINGS = {
  'autoencoder': Autoencoder(),
  'transcoder': Transcoder(),
  'crosscoder': Crosscoder(sources=2),
  'cross_layer': CrossLayerTranscoder(layers=3),
}
MODEL = {
  'vocab_size': 512,
  'width': 64,
  'layers': 3,
  'heads': 4,
  'head_dim': 16,
  'mlp_width': 256,
  'context': 32,
}


@pytest.fixture(scope='module')
def mesh():
  return make_mesh(data=4, model=2)


def text_of(program):
  return program.lower().compile().as_text()


def check(program, missing=True):
  """The collectives, all of them designed."""
  found = find_collectives(parse(text_of(program)), program.mesh)
  assert not program.unplanned(found), '\n'.join(map(str, program.unplanned(found)))
  assert not missing or not program.missing(found)
  return found


def dictionary(mesh, wiring, activation=TopK(k=8), terms=()):  # noqa: B008
  config = DictionaryConfig(D, F, activation, wiring)
  settings = TrainerConfig(steps=10, batch_size=ROWS, impl='dense', terms=terms)
  return programs.dictionary_step(config, settings, mesh)


# The last one has a kernel for each layer, and takes long to compile.
SLOW = pytest.param('cross_layer', marks=pytest.mark.slow)


@pytest.mark.parametrize('name', [*list(WIRINGS)[:-1], SLOW])
def test_a_dictionary_sends_outputs_candidates_and_gradients(mesh, name):
  check(dictionary(mesh, WIRINGS[name]))


def test_dead_features_are_fetched_and_not_gathered(mesh):
  check(dictionary(mesh, Autoencoder(), terms=(AuxK(),)))


def test_a_step_does_five_products(mesh):
  program = dictionary(mesh, Autoencoder())
  center = 2 * D * F // 2  # Its gradient, by each of the devices that share F.
  assert count(parse(text_of(program))).flops == program.flops / mesh.size + center


def test_a_harvest_sends_what_is_added_to_the_stream(mesh):
  cfg = TransformerConfig(**MODEL)
  found = check(programs.harvest_forward(cfg, mesh, 8, 32, {'resid_post': (1,)}))
  # Attention and MLP of two layers, in a loop or one by one.
  assert sum(one.times for one in found if 'Block' in one.source) == 4


def test_a_sweep_sends_what_is_added_to_the_stream(mesh):
  cfg = TransformerConfig(**MODEL)
  check(programs.patching_sweep(cfg, mesh, worlds=16, batch=2, length=16))


def test_training_a_model_sends_gradients_and_what_is_added_to_the_stream(mesh):
  cfg, optimizer = TransformerConfig(**MODEL), OptimizerConfig()
  check(programs.language_model_step(cfg, optimizer, mesh, batch=16))


def test_what_is_not_designed_is_found(mesh):
  weights = Shape('f32', (64, 1024))
  program = dictionary(mesh, Autoencoder())
  for kind, axes in (('all-gather', ('model',)), ('all-to-all', ('data',))):
    one = Collective(kind, axes, (weights,), 2, 1, '')
    assert program.unplanned([one]) == [one]
  few = Collective('all-reduce', ('data',), (Shape('f32', (4,)),), 4, 1, '')
  assert not program.unplanned([few])


def test_what_is_designed_and_missing_is_found(mesh):
  program = dictionary(mesh, Autoencoder())
  assert {rule.what for rule in program.missing([])} == {
    'outputs, summed',
    'gradients, summed',
    'candidates of the top-k',
  }


def test_a_rule_covers_its_kind_axes_and_sizes():
  rule = Allowed('x', 'all-gather', ('model',), 64)
  one = Collective('all-gather', ('model',), (), 2, 1, '')
  assert rule.covers(one, Shape('f32', (8,)))
  assert not rule.covers(one, Shape('f32', (9,)))
  assert not rule.covers(dataclasses.replace(one, axes=('data',)), Shape('f32', (8,)))


def test_nothing_is_allocated(mesh):
  before = len(jax.live_arrays())
  config = DictionaryConfig(4096, 2**22, TopK(k=8), Autoencoder())
  settings = TrainerConfig(steps=10, batch_size=ROWS)
  programs.dictionary_step(config, settings, mesh).lower()
  assert len(jax.live_arrays()) <= before + 4
