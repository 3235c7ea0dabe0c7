import numpy as np
import pytest

from interp_jax import circuits
from tests.circuits.questions import make_question


@pytest.fixture(scope='module')
def question():
  return make_question()


def one_by_one(question, threshold):
  """The algorithm as the paper has it."""
  run = lambda circuit: float(question.run(circuit[None], question.loss)[0])
  circuit = np.array(question.graph.edges)
  current = run(circuit)
  for edge in circuits.edge_order(question.graph):
    trial = circuit.copy()
    trial[tuple(edge)] = False
    loss = run(trial)
    if loss - current < threshold:
      circuit, current = trial, loss
  return circuit


@pytest.mark.parametrize('share', [0.1, 0.01, 0.001])
def test_bets_find_what_the_sequential_algorithm_finds(question, share):
  threshold = share * circuits.make_thresholds(question, 1)[0]
  expected = one_by_one(question, threshold)
  assert 0 < expected.sum() < question.graph.edges.sum()
  for bets in (7, 64):
    found = circuits.acdc(question, threshold, bets=bets, progress=False)
    np.testing.assert_array_equal(found.circuit.edges, expected)
    loss = question.run(expected[None], question.loss)[0]
    np.testing.assert_allclose(found.loss, loss, rtol=1e-4)


def test_a_guess_saves_runs_and_changes_nothing(question):
  threshold = 0.01 * circuits.make_thresholds(question, 1)[0]
  blind = circuits.acdc(question, threshold, bets=7, progress=False)
  told = circuits.acdc(question, threshold, bets=7, guess=blind.circuit, progress=False)
  np.testing.assert_array_equal(told.circuit.edges, blind.circuit.edges)
  assert told.runs < blind.runs
  wrong = circuits.Circuit(question.graph, question.graph.edges & ~blind.circuit.edges)
  misled = circuits.acdc(question, threshold, bets=7, guess=wrong, progress=False)
  np.testing.assert_array_equal(misled.circuit.edges, blind.circuit.edges)


def test_edges_are_tried_once_each_from_logits_to_the_input(question):
  graph = question.graph
  order = circuits.edge_order(graph)
  tried = np.zeros(graph.shape, int)
  np.add.at(tried, tuple(order.T), 1)
  np.testing.assert_array_equal(tried, graph.edges)
  # An edge into a node is tried after all edges out of it.
  place = {tuple(edge): i for i, edge in enumerate(order)}
  for node in graph.senders[1:]:
    out = [place[r, s] for r, s in place if graph.senders[s] == node]
    into = [place[r, s] for r, s in place if r in graph.inputs_of(node)]
    assert max(out) < min(into)


def test_the_score_is_the_highest_threshold_at_which_an_edge_stays(question):
  found = circuits.acdc_sweep(
    question, circuits.make_thresholds(question, 3), progress=False
  )
  assert list(found) == sorted(found, reverse=True)
  scores = circuits.threshold_scores({t: f.circuit for t, f in found.items()})
  for r, s in np.argwhere(question.graph.edges):
    kept = [t for t, f in found.items() if f.circuit.edges[r, s]]
    assert scores.values[r, s] == max(kept, default=0)


def test_a_threshold_of_zero_is_refused(question):
  with pytest.raises(ValueError, match='must be positive'):
    circuits.acdc(question, 0.0)
