import itertools

import numpy as np
import pytest

from interp_jax.tasks import rasp
from interp_jax.tasks.rasp import (
  Aggregate,
  Constant,
  Indices,
  Map,
  Mixture,
  Select,
  SelectorWidth,
  SequenceMap,
  Tokens,
)
from tests.tasks.rasp.patching import Runner

VOCABULARY = ('a', 'b', 'c')


def assert_compiles(program, causal=False, length=4):
  """The weights, in float64, against the interpreter on every input."""
  compiled = rasp.compile_program(program, VOCABULARY, length, causal=causal)
  runner = Runner(compiled.model, compiled.params)
  for n in range(1, length + 1):
    inputs = list(itertools.product(VOCABULARY, repeat=n))
    logits, _ = runner.run(compiled.encode(inputs))
    expected = np.stack([compiled.expected_logits(tokens) for tokens in inputs])
    np.testing.assert_allclose(logits[:, 1:], expected, atol=1e-5)
  return compiled


def same(key, query):
  return key == query


def test_aggregating_nothing_gives_no_value_and_no_number():
  first = Select(Indices(), Constant(7), same)
  assert rasp.evaluate(Aggregate(first, Tokens()), ('a', 'b')) == [None, None]
  number = Map(ord, Tokens(), kind='numerical')
  assert rasp.evaluate(Aggregate(first, number), ('a', 'b')) == [0.0, 0.0]


def test_aggregating_different_categories_mixes_them():
  everywhere = Select(Indices(), Indices(), lambda key, query: True)
  program = Aggregate(everywhere, Tokens())
  (value, _, _) = rasp.evaluate(program, ('a', 'b', 'b'))
  assert isinstance(value, Mixture)
  assert {k: float(v) for k, v in value.weights.items()} == pytest.approx(
    {'a': 1 / 3, 'b': 2 / 3}
  )
  with pytest.raises(ValueError, match='aggregates different categories'):
    rasp.evaluate(Map(str.upper, program), ('a', 'b'))


def test_a_causal_model_selects_nothing_that_comes_later():
  width = SelectorWidth(Select(Tokens(), Tokens(), same))
  assert rasp.evaluate(width, ('a', 'b', 'a'), causal=True) == [1, 1, 2]
  assert rasp.evaluate(width, ('a', 'b', 'a')) == [2, 1, 2]


@pytest.mark.parametrize('causal', [False, True])
def test_numbers_that_are_mapped_again(causal):
  is_a = Map(lambda token: float(token == 'a'), Tokens(), kind='numerical')
  everywhere = Select(Indices(), Indices(), lambda key, query: True)
  share = Aggregate(everywhere, is_a)
  assert_compiles(Map(lambda x: 'many' if x > 0.5 else 'few', share), causal)
  assert_compiles(Map(lambda x: 1 - 2 * x, share, kind='numerical'), causal)


def test_a_width_as_a_number_and_constants():
  first = Select(Indices(), Constant(0), same)
  opening = Aggregate(first, Tokens())
  assert_compiles(SequenceMap(lambda a, b: a + b, opening, Tokens()))
  assert_compiles(SelectorWidth(Select(Tokens(), opening, same), kind='numerical'))


def test_a_function_may_give_no_value():
  no_b = Map(lambda token: None if token == 'b' else token, Tokens())
  assert_compiles(no_b)
  assert_compiles(SelectorWidth(Select(no_b, Tokens(), same)))
  pairs = SequenceMap(lambda a, i: None if i == 1 else (a, i), no_b, Indices())
  assert_compiles(Map(lambda pair: pair[1], pairs))


def test_a_sequence_may_be_mapped_with_itself_and_given_back_as_it_is():
  assert_compiles(SequenceMap(lambda a, b: a + b, tokens := Tokens(), tokens))
  assert_compiles(Tokens())


def test_heads_of_one_layer_and_sequences_used_twice():
  tokens, indices = Tokens(), Indices()
  before = Aggregate(
    Select(indices, indices, lambda key, query: key == query - 1), tokens
  )
  after = Aggregate(
    Select(indices, indices, lambda key, query: key == query + 1), tokens
  )
  compiled = assert_compiles(SequenceMap(lambda a, b: a == b, before, after))
  assert (compiled.model.cfg.layers, compiled.model.cfg.heads) == (1, 2)


def test_decoding_gives_what_the_interpreter_says():
  width = SelectorWidth(Select(Tokens(), Tokens(), same))
  compiled = rasp.compile_program(width, VOCABULARY, 4)
  inputs = [('a', 'b', 'a', 'c')]
  logits, _ = compiled.model.apply({'params': compiled.params}, compiled.encode(inputs))
  assert compiled.decode(logits) == [rasp.evaluate(width, inputs[0])]


@pytest.mark.parametrize(
  ('inputs', 'message'),
  [
    ([('a',), ('a', 'b')], 'one length'),
    ([tuple('abcab')], '1 to 4'),
    ([('z',)], "Unknown tokens {'z'}"),
  ],
)
def test_inputs_that_do_not_fit_are_refused(inputs, message):
  compiled = rasp.compile_program(Tokens(), VOCABULARY, 4)
  with pytest.raises(ValueError, match=message):
    compiled.encode(inputs)


def test_programs_that_make_no_sense_are_refused():
  number = Map(ord, Tokens(), kind='numerical')
  with pytest.raises(ValueError, match='must be categorical'):
    Select(number, Tokens(), same)
  with pytest.raises(ValueError, match="Did you mean 'numerical'"):
    Map(ord, Tokens(), kind='numeric')
  with pytest.raises(ValueError, match='different'):
    rasp.compile_program(Tokens(), ('a', 'a'), 3)
  with pytest.raises(ValueError, match="Did you mean 'reverse'"):
    rasp.compiled('revers')
  with pytest.raises(ValueError, match="Did you mean 'resample'"):
    rasp.compiled('reverse').true_edges('resampled')
