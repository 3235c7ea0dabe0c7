"""Methods against programs whose circuits are known."""

import dataclasses

import numpy as np
import pytest

from interp_jax import circuits, tasks
from interp_jax.circuits import Circuit, Hypothesis
from tests.circuits.questions import compiled_question

NAMES = tasks.compiled_names()


@pytest.fixture(scope='module')
def induction():
  task = tasks.compiled('induction', length=4)
  question, truth = compiled_question(task, 'resample')
  return question, Circuit(question.graph, truth)


@pytest.fixture(scope='module')
def reverse():
  task = tasks.compiled('reverse', length=4)
  question, truth = compiled_question(task, 'resample')
  return question, Circuit(question.graph, truth)


def auc(scores, truth):
  return circuits.roc_auc(np.abs(scores.values), truth, scores.graph.edges)


@pytest.mark.parametrize('method', ['acdc', 'eap-ig-inputs', 'exact', 'edge-pruning'])
def test_a_method_finds_exactly_the_true_edges(induction, method):
  question, truth = induction
  settings = {'acdc': {'thresholds': circuits.make_thresholds(question, 3)}}
  settings['edge-pruning'] = {'price': 0.1, 'steps': 200}
  scores = circuits.discover_edges(
    question, method, progress=False, **settings.get(method, {})
  )
  assert auc(scores, truth.edges) == 1


@pytest.mark.slow
@pytest.mark.parametrize('ablation', ['resample', 'mean'])
@pytest.mark.parametrize('method', ['acdc', 'eap-ig'])
@pytest.mark.parametrize('name', NAMES)
def test_every_program_is_found(name, method, ablation):
  question, truth = compiled_question(tasks.compiled(name), ablation, 32)
  if method == 'acdc':
    scores = circuits.discover_edges(question, method, progress=False)
  else:
    scores = circuits.attribute_edges(question)
  assert auc(scores, truth) >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_acdc_finds_what_matters_under_zero_ablation(name):
  question, truth = compiled_question(tasks.compiled(name), 'zero', 32)
  scores = circuits.discover_edges(question, 'acdc', progress=False)
  assert auc(scores, truth) >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_learned_gates_find_every_program(name):
  question, truth = compiled_question(tasks.compiled(name), 'resample', 32)
  scores = circuits.discover_edges(
    question, 'edge-pruning', progress=False, price=0.1, steps=500
  )
  assert auc(scores, truth) >= 0.99


def test_gates_open_as_often_as_their_formula_says():
  import jax
  import jax.numpy as jnp

  from interp_jax.circuits.masks import draw_gates, open_probability

  logits = jnp.array([-3.0, -1.0, 0.0, 2.0])
  draws = draw_gates(jnp.broadcast_to(logits, (20_000, 4)), jax.random.key(0))
  assert ((draws >= 0) & (draws <= 1)).all()
  np.testing.assert_allclose((draws > 0).mean(0), open_probability(logits), atol=0.015)


def test_a_target_sets_how_many_gates_stay_open(reverse):
  question, truth = reverse
  share = len(truth) / question.graph.edges.sum()
  found = circuits.edge_pruning(question, share, steps=150, progress=False)
  assert abs(found.shares[-1] - share) < 0.05
  assert found.open.names == truth.names


def test_the_true_circuit_is_complete_and_a_part_of_it_is_not(induction):
  question, truth = induction
  subsets = [(), *circuits.random_subsets(truth, 4, seed=0)]
  whole = circuits.completeness(question, truth, subsets)
  np.testing.assert_allclose(whole.incompleteness, 0, atol=1e-4)
  less = truth.edges & ~question.graph.select(['input->a1.h0<q>'])
  part = circuits.completeness(question, Circuit(question.graph, less), [()])
  assert part.incompleteness[0] > 0.1
  worst = circuits.greedy_subsets(question, truth, 2)
  assert [len(some) for some in worst] == [1, 2]


def test_every_node_of_the_true_circuit_counts_and_another_does_not(reverse):
  question, truth = reverse
  graph = question.graph
  idle = graph.select(['input->m2', 'm2->logits'])
  padded = Circuit(graph, truth.edges | idle)
  found = circuits.minimality(question, padded, size=1)
  scores = dict(zip(found.nodes, found.scores, strict=True))
  assert scores['a2.h0'] > 0.1
  assert scores['m2'] < 1e-5


def test_a_true_hypothesis_survives_scrubbing(reverse):
  question, truth = reverse
  found = circuits.scrub(question, Hypothesis(truth), samples=2, progress=False)
  assert found.recovered == pytest.approx(1, abs=1e-4)
  assert found.nodes == 3  # Logits, the head, and the input by its values.


def test_scrubbing_tells_how_much_of_the_input_a_feature_leaves(reverse):
  question, truth = reverse
  everything = lambda tokens: tokens
  first = lambda tokens: tokens[:, :2]  # Behind BOS.
  nothing = lambda tokens: np.zeros(len(tokens), int)
  recovered = [
    circuits.scrub(
      question, Hypothesis(truth, {name: feature}), samples=8, progress=False
    ).recovered
    for name, feature in (
      ('input', everything),
      ('input->a2.h0<v>', first),
      ('input', nothing),
    )
  ]
  assert recovered[0] == pytest.approx(1, abs=1e-4)
  assert 0.2 < recovered[1] < 0.8
  assert abs(recovered[2]) < 0.2


def test_scrubbing_resamples_what_a_hypothesis_leaves_out(induction):
  question, truth = induction
  whole = circuits.scrub(question, Hypothesis(truth), samples=2, progress=False)
  assert whole.recovered == pytest.approx(1, abs=1e-4)
  assert circuits.tree_sizes(truth)['logits'] == whole.nodes
  less = truth.edges & ~question.graph.select(['a0.h0->a1.h0<k>'])
  part = Hypothesis(Circuit(question.graph, less))
  assert circuits.scrub(question, part, samples=4, progress=False).recovered < 0.9


def test_a_hypothesis_that_cannot_be_tested_is_refused(induction):
  question, truth = induction
  with pytest.raises(ValueError, match='give labels'):
    circuits.scrub(question, Hypothesis(truth, {'input': np.zeros(3)}))
  with pytest.raises(ValueError, match='Unknown sender'):
    circuits.scrub(question, Hypothesis(truth, {'inptu': np.zeros(16)}))
  with pytest.raises(ValueError, match='most_nodes=2'):
    circuits.scrub(question, Hypothesis(truth), most_nodes=2)
  padded = dataclasses.replace(question, kwargs={'mask': np.ones((16, 5), bool)})
  with pytest.raises(ValueError, match='padding'):
    circuits.scrub(padded, Hypothesis(truth))
