"""Scores and circuits, and the JSON that EAP-IG and MIB read and write."""

import json

import numpy as np
import pytest

from interp_jax.circuits import Circuit, EdgeScores, Graph

GRAPH = Graph(layers=1, heads=1, width=4)
# As EAP-IG writes it: written by hand after its `to_json`.
SAMPLE = {
  'cfg': {'n_layers': 1, 'n_heads': 1, 'parallel_attn_mlp': False, 'd_model': 4},
  'nodes': {
    'input': {'in_graph': True},
    'a0.h0': {'in_graph': True},
    'm0': {'in_graph': False},
    'logits': {'in_graph': True},
  },
  'edges': {
    'input->a0.h0<q>': {'score': 0.5, 'in_graph': False},
    'input->a0.h0<k>': {'score': -2.0, 'in_graph': True},
    'input->a0.h0<v>': {'score': 0.25, 'in_graph': True},
    'input->m0': {'score': 0.0, 'in_graph': False},
    'a0.h0->m0': {'score': 1e-3, 'in_graph': True},
    'input->logits': {'score': 0.0, 'in_graph': False},
    'a0.h0->logits': {'score': 3.0, 'in_graph': True},
    'm0->logits': {'score': -0.75, 'in_graph': False},
  },
}


def written(tmp_path, content):
  path = tmp_path / 'graph.json'
  path.write_text(content if isinstance(content, str) else json.dumps(content))
  return path


def changed(**parts):
  return {**SAMPLE, **parts}


def test_a_file_of_eap_ig_is_read(tmp_path):
  path = written(tmp_path, SAMPLE)
  scores = EdgeScores.load(path)
  assert scores.graph == GRAPH
  assert scores['input->a0.h0<k>'] == -2.0
  assert scores.top(2) == [('a0.h0->logits', 3.0), ('input->a0.h0<k>', -2.0)]
  # The edge into m0 goes with the node, which is outside of the circuit.
  inside = ('input->a0.h0<k>', 'input->a0.h0<v>', 'a0.h0->logits')
  assert Circuit.load(path).names == inside


def test_scores_and_circuits_survive_the_disk(tmp_path):
  rng = np.random.default_rng(0)
  for options in ({}, {'parallel': True}, {'attn_only': True}):
    graph = Graph(layers=2, heads=3, width=4, **options)
    values = np.where(graph.edges, rng.normal(size=graph.shape), 0)
    scores = EdgeScores(graph, values)
    scores.save(tmp_path / 'scores.json')
    again = EdgeScores.load(tmp_path / 'scores.json')
    assert again.graph == graph
    np.testing.assert_array_equal(again.values, values)
    circuit = scores.circuit(7)
    circuit.save(tmp_path / 'circuit.json')
    loaded = Circuit.load(tmp_path / 'circuit.json')
    np.testing.assert_array_equal(loaded.edges, circuit.edges)
    np.testing.assert_array_equal(loaded.scores, values)


def test_what_is_written_has_the_keys_that_eap_ig_reads(tmp_path):
  EdgeScores.load(written(tmp_path, SAMPLE)).above(0.5).save(tmp_path / 'out.json')
  content = json.loads((tmp_path / 'out.json').read_text())
  assert content['cfg'] == SAMPLE['cfg']
  assert content['nodes'].keys() == SAMPLE['nodes'].keys()
  scores = {name: edge['score'] for name, edge in content['edges'].items()}
  assert scores == {name: edge['score'] for name, edge in SAMPLE['edges'].items()}
  chosen = {name for name, edge in content['edges'].items() if edge['in_graph']}
  assert chosen == {
    'input->a0.h0<q>', 'input->a0.h0<k>', 'a0.h0->logits', 'm0->logits'
  }  # fmt: skip


def test_membership_alone_is_a_circuit_without_scores(tmp_path):
  edges = {'input->logits': {'in_graph': True}}
  path = written(tmp_path, changed(edges=edges))
  circuit = Circuit.load(path)
  assert circuit.names == ('input->logits',)
  assert circuit.scores is None
  with pytest.raises(ValueError, match='no scores, only membership'):
    EdgeScores.load(path)


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('{"cfg": ', 'is no JSON'),
    ([], "no object 'cfg'"),
    (changed(cfg={'n_layers': 1}), "cfg has no 'n_heads'"),
    (changed(cfg={**SAMPLE['cfg'], 'n_layers': 'one'}), 'not a count'),
    (changed(nodes={'a0.h1': {'in_graph': True}}), "no node 'a0.h1'"),
    (changed(nodes={'m0': {'in_graph': True, 'neurons': [1]}}), 'whole nodes'),
    (changed(edges={'m0->a0.h0<q>': {'score': 1}}), 'writes after it is read'),
    (changed(edges={'a0.h0->m0': {}}), 'neither in_graph nor score'),
    (changed(edges={'a0.h0->m0': {'score': '1'}}), 'no number'),
    (changed(edges={'a0.h0->m0': {'score': float('nan')}}), 'not finite'),
    (changed(edges={'a0.h0->m0': {'in_graph': 1}}), 'neither true nor false'),
  ],
)
def test_a_file_that_is_none_says_why(tmp_path, content, message):
  with pytest.raises(ValueError, match=message):
    EdgeScores.load(written(tmp_path, content))


def test_scores_that_json_has_no_word_for_are_not_written(tmp_path):
  values = np.zeros(GRAPH.shape)
  values[GRAPH.edge('m0->logits')] = np.nan
  with pytest.raises(ValueError, match='1 edges have a score that is NaN'):
    EdgeScores(GRAPH, values).save(tmp_path / 'scores.json')


def test_a_circuit_takes_the_largest_scores_signed_or_not():
  values = np.zeros(GRAPH.shape)
  values[GRAPH.edge('m0->logits')] = -3
  values[GRAPH.edge('input->m0')] = 2
  scores = EdgeScores(GRAPH, values)
  assert scores.circuit(1).names == ('m0->logits',)
  assert scores.circuit(1, absolute=False).names == ('input->m0',)
  assert set(scores.above(2).names) == {'m0->logits', 'input->m0'}
  assert len(scores.circuit(0)) == 0
  with pytest.raises(ValueError, match='the graph has 8'):
    scores.circuit(9)


def test_pruning_leaves_what_is_on_a_path_from_input_to_logits():
  graph = Graph(layers=2, heads=1, width=4)
  path = ('input->a0.h0<v>', 'a0.h0->m1', 'm1->logits')
  dangling = ('m0->logits', 'input->a1.h0<q>', 'a0.h0->m0')
  keep = Circuit(graph, graph.select(path)).pruned()
  assert keep.names == path
  # m0 has an edge in and one out, so both stay; a1.h0 has no edge out.
  both = Circuit(graph, graph.select(path + dangling)).pruned()
  assert set(both.names) == {*path, 'm0->logits', 'a0.h0->m0'}
  alone = Circuit(graph, graph.select(['m0->logits'])).pruned()
  assert len(alone) == 0
  assert both.nodes == ('input', 'a0.h0', 'm0', 'm1', 'logits')


def test_what_is_no_edge_is_in_no_circuit():
  with pytest.raises(ValueError, match=r'no edge a0\.h0->a0\.h0<q>'):
    Circuit(GRAPH, np.ones(GRAPH.shape, bool))
