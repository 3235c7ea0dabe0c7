import numpy as np
import pytest

from interp_jax import circuits
from interp_jax.circuits import FaithfulnessCurve
from tests.circuits.questions import make_question


def curve(faithfulness, shares):
  metric = 2 + 4.0 * np.asarray(faithfulness)
  edges = np.zeros(len(shares), int)
  return FaithfulnessCurve(np.asarray(shares), edges, metric, 6.0, 2.0)


def test_cpr_and_cmd_are_areas_over_the_share_of_edges():
  straight = curve([0, 0.5, 1], [0.0, 0.5, 1.0])
  assert straight.cpr == pytest.approx(0.5)
  assert straight.cmd == pytest.approx(0.5)
  over = curve([2, 2, 1], [0.1, 0.6, 1.0])  # Better than the model, unlike the model.
  assert over.cpr == pytest.approx(2 * 0.5 + 1.5 * 0.4)
  assert over.cmd == pytest.approx(1 * 0.5 + 0.5 * 0.4)


def test_the_whole_graph_is_faithful_and_the_empty_one_is_not():
  question = make_question()
  graph = question.graph
  whole = circuits.Circuit(graph, np.array(graph.edges))
  empty = circuits.Circuit(graph, np.zeros(graph.shape, bool))
  got = circuits.faithfulness(question, [whole, empty])
  np.testing.assert_allclose(got, [1, 0], atol=1e-5)
  scores = circuits.EdgeScores(graph, graph.edges.astype(float))
  drawn = circuits.faithfulness_curve(question, scores, [0.5, 1.0], progress=False)
  assert drawn.edges[1] == graph.edges.sum()
  assert drawn.faithfulness[1] == pytest.approx(1, abs=1e-5)
  with pytest.raises(ValueError, match='rising'):
    circuits.faithfulness_curve(question, scores, [0.5, 0.1])


def test_a_metric_that_ablation_does_not_change_is_refused():
  question = make_question()
  same = circuits.make_discovery(
    question.model, question.params, question.tokens, question.tokens
  )
  nothing = circuits.Circuit(same.graph, np.zeros(same.graph.shape, bool))
  with pytest.raises(ValueError, match='every edge ablated'):
    circuits.faithfulness(same, [nothing])
