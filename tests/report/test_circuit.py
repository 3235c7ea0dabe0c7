import pytest

from interp_jax.report import circuit_picture, to_svg

EDGES = [
  ('input', 'a0.h0<v>', 1.0),
  ('a0.h0', 'a1.h3<k>', -0.5),
  ('input', 'm1', 0.25),
  ('a1.h3', 'm1', 0.2),
  ('m1', 'logits', 2.0),
]


def test_every_node_and_edge_is_in_the_picture():
  svg = to_svg(circuit_picture(EDGES, notes={'a1.h3': 'induction'}), 'a circuit')
  for text in ('input', 'head 0.0', 'head 1.3', 'MLP 1', 'logits', 'induction'):
    assert f'>{text}<' in svg
  for sender, receiver, weight in EDGES:
    name = receiver.replace('<', '&lt;').replace('>', '&gt;')
    assert f'{sender} → {name}: score {weight:+.3g}' in svg


def test_only_the_ways_of_reading_that_occur_are_in_the_legend():
  svg = to_svg(circuit_picture(EDGES), 'a circuit')
  assert all(f'>{name}<' in svg for name in ('key', 'value', 'stream'))
  assert '>query<' not in svg


def test_layers_stand_above_each_other():
  axes = circuit_picture(EDGES).axes[0]
  height = {text.get_text(): text.get_position()[1] for text in axes.texts}
  names = ['input', 'head 0.0', 'head 1.3', 'MLP 1', 'logits']
  assert [height[name] for name in names] == sorted(height.values())


@pytest.mark.parametrize(
  ('edges', 'message'),
  [
    ([], 'no edges'),
    ([('input', 'a0.h0<x>', 1.0)], 'heads have'),
    ([('inptu', 'logits', 1.0)], 'is no node'),
  ],
)
def test_what_cannot_be_drawn_is_refused(edges, message):
  with pytest.raises(ValueError, match=message):
    circuit_picture(edges)
