"""Path patching: direct and total effects, and that paths add up where they must."""

import numpy as np
import pytest

from interp_jax import circuits, edits
from tests.circuits.graphs import make_pair

pytestmark = pytest.mark.usefixtures('double')

EXACT = 1e-11


def run(function, name, *args, **options):
  pair = make_pair(name)
  return function(*pair.args, pair.corrupt, *args, pair.metric, **options)


def patched(name, senders, receivers, **options):
  return run(circuits.path_patching, name, senders, receivers, **options)


def test_the_input_and_all_senders_have_the_total_effect_of_the_other_run():
  pair = make_pair('gpt2')
  expected = float(pair.metric(pair.other.logits, {})) - pair.base
  for senders in (['input'], pair.graph.senders):
    total = run(circuits.total_effect, 'gpt2', senders)
    assert total == pytest.approx(expected, abs=EXACT)


def test_direct_paths_are_patches_of_edges():
  exact = run(circuits.edge_patching, 'gpt2', progress=False)
  for edge in ('a0.h1->logits', 'm0->a1.h0<k>', 'a0.h0->m1'):
    sender, receiver = edge.split('->')
    effect = patched('gpt2', [sender], [receiver])
    assert effect == pytest.approx(exact[edge], abs=EXACT)
  path = run(circuits.path_effect, 'gpt2', ('a0.h1', 'logits'))
  assert path == pytest.approx(exact['a0.h1->logits'], abs=EXACT)


def test_through_every_node_is_the_total_effect():
  pair = make_pair('gpt2')
  others = [name for name in pair.graph.senders if name != 'a0.h0']
  effect = patched('gpt2', ['a0.h0'], ['logits'], through=others)
  total = run(circuits.total_effect, 'gpt2', ['a0.h0'])
  assert effect == pytest.approx(float(total), abs=EXACT)


def test_through_mlps_is_the_two_runs_of_wang_et_al_by_edits():
  # First all heads are held at clean values and the sender at its corrupted one, then
  # what the receiver made of it is put into a clean run.
  pair = make_pair('gpt2')
  apply = lambda tokens, e=None: pair.model.apply({'params': pair.params}, tokens, e)
  own, other = apply(pair.clean)[1], apply(pair.corrupt)[1]
  sender = np.zeros((2, 1, 1, 2, 1), bool)
  sender[0, ..., 1, :] = True
  held = edits.Replace(np.where(sender, other['z'], own['z']))
  sent = apply(pair.clean, {'z': held})[1]
  receiver = np.zeros((2, 1, 1, 2, 1), bool)
  receiver[1, ..., 0, :] = True
  logits, _ = apply(pair.clean, {'q': edits.Replace(sent['q'], receiver)})
  expected = float(pair.metric(logits, {})) - pair.base
  through = circuits.mlps(pair.graph)
  effect = patched('gpt2', ['a0.h1'], ['a1.h0<q>'], through=through)
  assert effect == pytest.approx(expected, abs=EXACT)
  assert abs(expected - float(patched('gpt2', ['a0.h1'], ['a1.h0<q>']))) > 1e-5


def test_paths_of_a_linear_model_add_up_to_the_total_effect():
  pair = make_pair('attn-only')
  frozen = circuits.freeze(*pair.args)
  total = run(circuits.total_effect, 'attn-only', ['input'], frozen=frozen)
  # Every path from the input to the logits, by the values of heads.
  values = lambda layer: [f'a{layer}.h{h}<v>' for h in range(2)]
  middles = [(), *([v] for layer in (0, 1) for v in values(layer))]
  middles += [(first, second) for first in values(0) for second in values(1)]
  effects = [
    run(circuits.path_effect, 'attn-only', ('input', *middle, 'logits'), frozen=frozen)
    for middle in middles
  ]
  assert sum(effects) == pytest.approx(float(total), abs=EXACT)
  assert np.abs(effects).min() > 1e-6
  # The same, cut at the first edge instead.
  receivers = ('logits', *values(0), *values(1))
  firsts = [patched('attn-only', ['input'], [r], frozen=frozen) for r in receivers]
  assert sum(firsts) == pytest.approx(float(total), abs=EXACT)
  # Without freezing it is no partition of anything.
  free = [
    run(circuits.path_effect, 'attn-only', ('input', *m, 'logits')) for m in middles
  ]
  whole = run(circuits.total_effect, 'attn-only', ['input'])
  assert abs(sum(free) - whole) > 1e-3


@pytest.mark.parametrize(
  ('senders', 'receivers', 'options', 'message'),
  [
    ('m0', ['logits'], {}, 'sequence of names'),
    (['m7'], ['logits'], {}, "Unknown sender 'm7'"),
    (['m0'], ['input'], {}, "Unknown receiver 'input'"),
    (['m0'], ['logits'], {'through': ['m0']}, 'no path passes through it'),
  ],
)
def test_wrong_names_say_what_is_right(senders, receivers, options, message):
  with pytest.raises(ValueError, match=message):
    patched('gpt2', senders, receivers, **options)


def test_what_is_no_path_is_refused():
  for path, message in [
    (('input', 'm0'), "to 'logits'"),
    (('m1', 'm0', 'logits'), 'writes after it is read'),
  ]:
    with pytest.raises(ValueError, match=message):
      run(circuits.path_effect, 'gpt2', path)
