import numpy as np
import pytest

from interp_jax import circuits
from tests.circuits.questions import make_question


@pytest.fixture(scope='module')
def question():
  return make_question()


def test_all_edges_are_the_model_and_none_the_corrupted_run(question):
  graph, model = question.graph, question.model
  masks = np.stack([graph.edges, np.zeros(graph.shape, bool)])
  clean, corrupted = question.run(masks, lambda logits, acts: logits.sum((0, 1)))
  for got, tokens in ((clean, question.tokens), (corrupted, question.corrupted)):
    logits, _ = model.apply({'params': question.params}, tokens)
    np.testing.assert_allclose(got, logits.sum((0, 1)), rtol=1e-4, atol=1e-4)


def test_the_loss_of_the_clean_run_is_zero(question):
  loss = question.run(question.graph.edges[None], question.loss)
  np.testing.assert_allclose(loss, 0, atol=1e-6)


def test_a_mean_is_over_rows_at_each_position(question):
  mean = circuits.make_discovery(
    question.model,
    question.params,
    question.tokens,
    question.corrupted,
    ablation='mean',
  )
  run = circuits.graph_run(question.model, question.params, question.corrupted)
  np.testing.assert_allclose(mean.other, run.senders.mean(1, keepdims=True), rtol=1e-5)
  assert mean.corrupted is None


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'ablation': 'resampled'}, "Did you mean 'resample'"),
    ({}, 'needs corrupted inputs'),
    ({'corrupted': np.zeros((1, 2), int)}, 'must be aligned'),
  ],
)
def test_a_question_that_makes_no_sense_is_refused(question, arguments, message):
  with pytest.raises(ValueError, match=message):
    circuits.make_discovery(
      question.model, question.params, question.tokens, **arguments
    )


def test_an_unknown_method_is_named(question):
  with pytest.raises(ValueError, match="Did you mean 'eap-ig-inputs'"):
    circuits.discover_edges(question, 'eap-ig-input')


def test_a_model_of_one_logit_is_judged_by_its_number():
  question = make_question(vocab_size=1)
  nothing = np.zeros((1, *question.graph.shape), bool)
  zero = circuits.make_discovery(
    question.model, question.params, question.tokens, ablation='zero'
  )
  assert zero.run(nothing)[0] > 1e-3
