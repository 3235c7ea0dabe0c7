import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
import numpy as np
import pytest

from interp_jax.sharding import make_mesh
from interp_jax.sharding.collectives import find_collectives, replica_groups
from interp_jax.sharding.hlo import parse

ROWS = [[0, 1], [2, 3], [4, 5], [6, 7]]
COLUMNS = [[0, 2, 4, 6], [1, 3, 5, 7]]


@pytest.mark.parametrize(
  ('text', 'groups'),
  [
    ('replica_groups={{0,1},{2,3},{4,5},{6,7}}, use_global_device_ids=true', ROWS),
    ('replica_groups=[4,2]<=[8], channel_id=1', ROWS),
    ('replica_groups=[2,4]<=[4,2]T(1,0), channel_id=1', COLUMNS),
    ("replica_groups=mesh['x'=4,'y'=2] {'y'}, to_apply=%add", ROWS),
    ("replica_groups=mesh['x'=4,'y'=2] {'x'}, to_apply=%add", COLUMNS),
    ("replica_groups=mesh['x'=2,'y'=4], device_ids=([4,2]T(1,0)) {'y'}, a=b", COLUMNS),
    ('replica_groups={}, to_apply=%add', [list(range(8))]),
    ('source_target_pairs={{0,1},{2,3},{4,5},{6,7}}', ROWS),
  ],
)
def test_every_way_to_write_groups_is_read(text, groups):
  found = sorted(sorted(row) for row in replica_groups(f', {text}', 8).tolist())
  assert found == groups


def test_groups_of_an_unknown_form_are_an_error():
  with pytest.raises(ValueError, match='unknown form'):
    replica_groups("replica_groups=mesh['x'=8] {'x':(2)4}, to_apply=%add", 8)


@pytest.fixture(scope='module')
def mesh():
  return make_mesh(data=4, model=2)


def collectives(mesh, function, inputs, outputs, *shapes):
  where = lambda specs: tuple(NamedSharding(mesh, spec) for spec in specs)
  jitted = jax.jit(
    function, in_shardings=where(inputs), out_shardings=where([outputs])[0]
  )
  given = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  return find_collectives(parse(jitted.lower(*given).compile().as_text()), mesh)


def test_a_sum_over_split_neurons_runs_along_the_model_axis(mesh):
  (one,) = collectives(
    mesh, jnp.matmul, [P('data', 'model'), P('model')], P('data'), (8, 6), (6, 10)
  )
  assert (one.kind, one.axes, one.group, one.times) == ('all-reduce', ('model',), 2, 1)
  assert one.given == 2 * 10 * 4
  assert one.sent == 2 * one.given / 2


def test_gathered_rows_run_along_the_data_axis(mesh):
  (one,) = collectives(mesh, jnp.tanh, [P('data')], P(), (8, 6))
  assert (one.kind, one.axes) == ('all-gather', ('data',))
  assert one.size == 8 * 6 * 4
  assert one.sent == one.size * 3 / 4


def test_what_is_in_a_loop_runs_every_time(mesh):
  def f(x, layers):
    return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w) @ w.T, None), x, layers)[0]

  found = collectives(
    mesh, f, [P('data'), P(None, None, 'model')], P('data'), (8, 6), (5, 6, 4)
  )
  assert [(one.kind, one.axes, one.times) for one in found] == [
    ('all-reduce', ('model',), 5)
  ]


def test_what_is_local_sends_nothing(mesh):
  assert not collectives(mesh, jnp.tanh, [P('data')], P('data'), (8, 6))


def test_what_is_sent_is_of_all_times_together(mesh):
  one = collectives(mesh, jnp.tanh, [P('data')], P(), (8, 6))[0]
  assert np.isclose(one.sent, 3 * 2 * 6 * 4)
  assert 'all-gather' in str(one)
  assert 'over data' in str(one)


SCATTERED = """
HloModule jit_f

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %sum = f32[] add(%x, %y)
}

%all-reduce-scatter.1 (input: bf16[8,6]) -> bf16[4,6] {
  %input = bf16[8,6]{1,0} parameter(0)
  %all = bf16[8,6]{1,0} all-reduce(%input), replica_groups=[4,2]<=[8], to_apply=%add
  ROOT %own = bf16[4,6]{1,0} slice(%all), slice={[0:4], [0:6]}
}

ENTRY %main (x.1: bf16[8,6]) -> bf16[4,6] {
  %x.1 = bf16[8,6]{1,0} parameter(0)
  ROOT %out = bf16[4,6]{1,0} fusion(%x.1), kind=kCustom, calls=%all-reduce-scatter.1
}
"""


def test_a_sum_of_which_each_keeps_its_part_is_a_reduce_scatter(mesh):
  (one,) = find_collectives(parse(SCATTERED), mesh)
  assert (one.kind, one.axes, one.group) == ('reduce-scatter', ('model',), 2)
  assert one.sent == 8 * 6 * 2 / 2


def test_a_collective_that_is_started_and_ended_counts_once(mesh):
  text = SCATTERED.replace('all-reduce-scatter.1', 'plain').replace(
    'ROOT %own = bf16[4,6]{1,0} slice(%all)',
    '%more = bf16[8,6]{1,0} all-reduce-start(%input), replica_groups=[4,2]<=[8]\n'
    '  %done = bf16[8,6]{1,0} all-reduce-done(%more)\n'
    '  ROOT %own = bf16[4,6]{1,0} slice(%done)',
  )
  found = find_collectives(parse(text), mesh)
  assert [one.kind for one in found] == ['all-reduce', 'all-reduce']
