"""The graph: who reads what, by name and by place, and what is said of wrong names."""

import dataclasses

import numpy as np
import pytest

from interp_jax.circuits import Graph, make_graph
from interp_jax.models import TransformerConfig


def test_gpt2_small_has_the_nodes_and_edges_that_eap_ig_counts():
  graph = Graph(layers=12, heads=12, width=768)
  assert len(graph.nodes) == 158
  assert len(graph.edge_names) == graph.edges.sum() == 32_491


def test_edges_of_one_layer_are_those_that_can_be_listed_by_hand():
  heads = [f'input->a0.h{h}<{kind}>' for kind in 'qkv' for h in (0, 1)]
  rest = ['input', 'a0.h0', 'a0.h1']
  graph = Graph(layers=1, heads=2, width=8)
  into = [f'{s}->m0' for s in rest] + [f'{s}->logits' for s in [*rest, 'm0']]
  assert graph.edge_names == (*heads, *into)
  parallel = dataclasses.replace(graph, parallel=True)
  into = ['input->m0'] + [f'{s}->logits' for s in [*rest, 'm0']]
  assert parallel.edge_names == (*heads, *into)
  attention = dataclasses.replace(graph, attn_only=True)
  assert attention.edge_names == (*heads, *(f'{s}->logits' for s in rest))


@pytest.mark.parametrize('options', [{}, {'parallel': True}, {'attn_only': True}])
def test_names_and_places_are_each_others_inverse(options):
  graph = Graph(layers=3, heads=2, width=8, **options)
  assert [graph.edge(name) for name in graph.edge_names] == [
    tuple(place) for place in np.argwhere(graph.edges)
  ]
  assert (graph.select(graph.edge_names) == graph.edges).all()
  places = [graph.inputs_of(node) for node in graph.nodes]
  assert sorted(sum(places, ())) == list(range(len(graph.receivers)))


def test_a_config_gives_its_graph():
  cfg = TransformerConfig(
    vocab_size=9, width=8, layers=3, heads=4, head_dim=2, kv_heads=2, attn_only=True
  )
  assert make_graph(cfg) == Graph(3, 4, 8, parallel=False, attn_only=True)


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('a1.h0', "named 'sender->receiver'"),
    ('a1.h0->a1.h1<q>', 'writes after it is read'),
    ('a1.h9->logits', "Unknown sender 'a1.h9'"),
    ('input->a0.h0', "Unknown receiver 'a0.h0'. Did you mean 'a0.h0<"),
  ],
)
def test_a_wrong_edge_says_what_is_wrong(name, message):
  with pytest.raises(ValueError, match=message):
    Graph(layers=2, heads=2, width=8).edge(name)
