import numpy as np
import pytest

from interp_jax import circuits

GRAPH = circuits.Graph(layers=2, heads=1, width=4, attn_only=True)


def scores_of(**named):
  values = np.zeros(GRAPH.shape)
  for name, value in named.items():
    values[GRAPH.edge(name)] = value
  return circuits.EdgeScores(GRAPH, values)


def test_auc_is_the_share_of_pairs_in_the_right_order():
  rng = np.random.default_rng(0)
  scores = rng.integers(0, 6, 40).astype(float)  # With many ties.
  truth = rng.random(40) < 0.3
  pairs = np.sign(scores[truth][:, None] - scores[~truth][None])
  expected = (pairs + 1).mean() / 2
  assert circuits.roc_auc(scores, truth) == pytest.approx(expected)


@pytest.mark.parametrize(
  ('scores', 'auc'), [([3, 2, 1, 0], 1), ([0, 0, 0, 0], 0.5), ([0, 1, 2, 3], 0)]
)
def test_auc_of_right_useless_and_wrong_scores(scores, auc):
  truth = np.array([True, True, False, False])
  assert circuits.roc_auc(np.array(scores), truth) == auc


def test_auc_reads_edges_only():
  scores, truth = np.array([5.0, 1, 2]), np.array([False, True, False])
  assert circuits.roc_auc(scores, truth, np.array([False, True, True])) == 0
  with pytest.raises(ValueError, match='needs both'):
    circuits.roc_auc(scores, np.ones(3, bool))
  with pytest.raises(ValueError, match='NaN'):
    circuits.roc_auc(np.array([np.nan, 1, 2]), truth)


def test_the_greedy_choice_starts_at_logits_and_wastes_nothing_on_dead_ends():
  scores = scores_of(
    **{
      'input->a0.h0<q>': 9,  # Into a node whose output is worth little.
      'a0.h0->a1.h0<v>': 3,
      'a1.h0->logits': -2,
      'input->logits': 1,
      'input->a1.h0<v>': 0.5,
    }
  )
  greedy = circuits.greedy_circuit(scores, 2)
  assert set(greedy.names) == {'a1.h0->logits', 'a0.h0->a1.h0<v>'}
  assert set(circuits.greedy_circuit(scores, 3).names) == {
    *greedy.names,
    'input->a0.h0<q>',
  }
  assert not len(circuits.select_circuit(scores, 1, 'top'))  # It leads nowhere.
  assert circuits.select_circuit(scores, 4, 'greedy').names == (
    circuits.select_circuit(scores, 4, 'top').names
  )


def test_a_signed_choice_leaves_out_what_hurts():
  scores = scores_of(**{'a1.h0->logits': -2, 'input->logits': 1})
  assert circuits.greedy_circuit(scores, 1, absolute=False).names == ('input->logits',)


def test_a_choice_that_cannot_be_made_is_refused():
  with pytest.raises(ValueError, match="Did you mean 'greedy'"):
    circuits.select_circuit(scores_of(), 1, 'gredy')
  with pytest.raises(ValueError, match='the graph has'):
    circuits.greedy_circuit(scores_of(), 1000)
  with pytest.raises(ValueError, match='Unknown node'):
    circuits.edges_from(GRAPH, {'m0'})
