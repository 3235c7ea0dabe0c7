import jax
import jax.numpy as jnp
import pytest

from interp_jax.sharding.costs import convolution_flops, count, dot_flops
from interp_jax.sharding.hlo import Shape, parse

# As a TPU's compiler writes it: memories, tiles, comments and fusions.
TEXT = """
HloModule jit_f, is_scheduled=true

%fused (param_0: bf16[8,16], param_1: bf16[16,4]) -> bf16[8,4] {
  %param_0 = bf16[8,16]{1,0:T(8,128)(2,1)} parameter(0)
  %param_1 = bf16[16,4]{1,0:T(8,128)(2,1)} parameter(1)
  ROOT %out = bf16[8,4]{1,0} convolution(%param_0, %param_1), dim_labels=bf_io->bf
}

%taken (param_0.1: f32[10,8], param_1.1: s32[]) -> f32[1,8] {
  %param_0.1 = f32[10,8]{1,0} parameter(0)
  %param_1.1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %slice.1 = f32[1,8]{1,0} dynamic-slice(%param_0.1, %param_1.1, %zero)
}

%body (state: (s32[], f32[10,8])) -> (s32[], f32[10,8]) {
  %state = (s32[]{:T(128)}, f32[10,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %rows = f32[10,8]{1,0} get-tuple-element(%state), index=1
  %row = f32[1,8]{1,0:S(1)} fusion(%rows, %i), kind=kLoop, calls=%taken
  ROOT %next = (s32[], f32[10,8]) tuple(%i, %rows)
}

%condition (state.1: (s32[], f32[10,8])) -> pred[] {
  %state.1 = (s32[], f32[10,8]) parameter(0)
  %i.1 = s32[] get-tuple-element(%state.1), index=0
  %ten = s32[]{:T(128)} constant(10)
  ROOT %less = pred[] compare(%i.1, %ten), direction=LT
}

ENTRY %main (a: bf16[8,16], b: bf16[16,4], c: s32[], d: f32[10,8]) -> bf16[8,4] {
  %a = bf16[8,16]{1,0} parameter(0)
  %b = bf16[16,4]{1,0} parameter(1)
  %c = s32[] parameter(2)
  %d = f32[10,8]{1,0} parameter(3)
  %begin = (s32[], /*index=1*/f32[10,8]{1,0}) tuple(%c, %d)
  %loop = (s32[], f32[10,8]{1,0}) while(%begin), condition=%condition, body=%body
  ROOT %out = bf16[8,4]{1,0} fusion(%a, %b), kind=kOutput, calls=%fused
}
"""


def test_a_module_has_its_instructions_with_shapes_and_memories():
  module = parse(TEXT)
  body = module.computations['body']
  assert module.entry == 'main'
  assert body.instructions['row'].shapes == (Shape('f32', (1, 8), 1),)
  assert body.instructions['row'].operands == ('rows', 'i')
  assert module.computations['main'].root.called('calls') == 'fused'
  assert [s.bytes for s in body.instructions['state'].shapes] == [4, 320]


def test_a_loop_runs_as_often_as_its_condition_or_its_own_word_says():
  module = parse(TEXT)
  loop = module.computations['main'].instructions['loop']
  assert module.trip_count(loop) == 10
  said = TEXT.replace('body=%body', 'body=%body, b={"known_trip_count":{"n":"7"}}')
  module = parse(said)
  assert module.trip_count(module.computations['main'].instructions['loop']) == 7


def test_costs_are_products_and_what_passes_through_main_memory():
  costs = count(parse(TEXT))
  assert costs.flops == 2 * 8 * 16 * 4
  # Of the loop, a row each time, which then stays on the chip; of the product, all.
  assert costs.bytes == 10 * (8 * 4 + 4) + 2 * (8 * 16 + 16 * 4 + 8 * 4)
  assert costs.unknown_loops == 0


def test_a_text_without_an_entry_is_refused():
  with pytest.raises(ValueError, match='no ENTRY'):
    parse('HloModule nothing')


@pytest.fixture(scope='module')
def scanned():
  def f(x, layers):
    return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, layers)[0]

  shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((32, 64), (5, 64, 64))]
  return jax.jit(f).lower(*shapes).compile()


def test_products_in_a_loop_count_every_time(scanned):
  assert count(parse(scanned.as_text())).flops == 5 * 2 * 32 * 64 * 64


@pytest.mark.parametrize(
  ('einsum', 'shapes', 'flops'),
  [
    ('ij,jk->ik', ((8, 16), (16, 4)), 2 * 8 * 16 * 4),
    ('bij,bjk->bik', ((3, 8, 16), (3, 16, 4)), 2 * 3 * 8 * 16 * 4),
    ('btgrk,bsgk->bgrts', ((2, 5, 3, 2, 4), (2, 7, 3, 4)), 2 * 2 * 3 * 2 * 5 * 7 * 4),
  ],
)
def test_products_have_two_operations_for_each_pair(einsum, shapes, flops):
  given = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  compiled = jax.jit(lambda x, y: jnp.einsum(einsum, x, y)).lower(*given).compile()
  assert count(parse(compiled.as_text())).flops == flops


def test_a_windowed_convolution_counts_no_padding():
  # A product of [3, 8, 16] and [3, 16, 4], batch by batch, as TPUs have it: the batch
  # is a window of 3 places, of which one meets an input at each output.
  attributes = (
    ', window={size=3 stride=1 pad=2_2 rhs_dilate=1 rhs_reversal=0},'
    ' dim_labels=0bf_0io->0bf'
  )
  one = (
    parse(
      TEXT.replace(', dim_labels=bf_io->bf', attributes).replace(
        'bf16[8,4]{1,0} convolution', 'bf16[5,8,4]{2,1,0} convolution'
      )
    )
    .computations['fused']
    .root
  )
  operands = (Shape('bf16', (3, 8, 16)), Shape('bf16', (3, 16, 4)))
  # Places (output, window) that read one of 3 inputs: 3 for each of them.
  assert convolution_flops(one, operands) == 2 * 8 * 16 * 4 * 9


def test_a_dot_counts_its_contracted_axes():
  text = TEXT.replace(
    'convolution(%param_0, %param_1), dim_labels=bf_io->bf',
    'dot(%param_0, %param_1), lhs_contracting_dims={1}, rhs_contracting_dims={0}',
  )
  one = parse(text).computations['fused'].root
  operands = (Shape('bf16', (8, 16)), Shape('bf16', (16, 4)))
  assert dot_flops(one, operands) == 2 * 8 * 16 * 4
