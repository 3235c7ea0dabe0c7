"""Programs compiled for real TPU topologies; needs the extra `tpu-compile`."""

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
)
from interp_jax.models import TransformerConfig
from interp_jax.sharding import make_mesh
from interp_jax.sharding.roofline import analyse
from interp_jax.sharding.topology import make_topology

pytestmark = [
  pytest.mark.slow,
  # The compiler's own, of a machine that is no TPU.
  pytest.mark.filterwarnings('ignore'),
]


@pytest.fixture(scope='module')
def topology():
  pytest.importorskip('libtpu')
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('TPU_SKIP_MDS_QUERY', '1')
    patch.setenv('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
    yield make_topology('v5e:4x4')


def analysed(topology, make):
  mesh = make_mesh(model=4, devices=topology.devices)
  program = make(mesh)
  return program, analyse(program.lower().compile(), topology, mesh)


@pytest.mark.parametrize(
  ('wiring', 'terms'),
  [
    (Autoencoder(), ()),
    (Autoencoder(), (AuxK(),)),
    (Crosscoder(sources=2), ()),
    (CrossLayerTranscoder(layers=4), (AuxK(),)),
  ],
  ids=['autoencoder', 'dead features', 'crosscoder', 'cross-layer'],
)
def test_a_dictionary_sends_outputs_candidates_and_gradients(topology, wiring, terms):
  config = DictionaryConfig(256, 4096, TopK(k=16), wiring)
  settings = TrainerConfig(
    steps=10, batch_size=2048, compute_dtype='bfloat16', terms=terms
  )
  program, analysis = analysed(
    topology, lambda mesh: programs.dictionary_step(config, settings, mesh)
  )
  assert program.unplanned(analysis.collectives) == []
  assert program.missing(analysis.collectives) == []
  assert analysis.fits
  if not terms:
    assert analysis.costs.flops * 16 == program.flops


def test_a_harvest_sends_what_is_added_to_the_stream(topology):
  cfg = TransformerConfig(1024, 256, 4, 8, 32, mlp_width=1024, dtype='bfloat16')
  program, analysis = analysed(
    topology,
    lambda mesh: programs.harvest_forward(cfg, mesh, 16, 256, {'resid_post': (1,)}),
  )
  assert program.unplanned(analysis.collectives) == []
  in_layers = [one for one in analysis.collectives if 'Block' in one.source]
  assert sum(one.times for one in in_layers) == 4
  # All products, and the scores and mixing that the design does not count.
  assert 1 < analysis.costs.flops * 16 / program.flops < 1.5


def test_rings_and_lines_have_the_links_that_they_have(topology):
  link = topology.chip.link_rate
  lines = make_mesh(model=4, devices=topology.devices)
  assert topology.rate(lines, ['model']) == link
  assert topology.rate(lines, ['data', 'model']) == 2 * link
  pod = make_topology('v5e:16x16')
  rings = make_mesh(model=16, devices=pod.devices)
  assert pod.rate(rings, ['model']) == 2 * link
  assert pod.rate(rings, ['data']) == 2 * link
