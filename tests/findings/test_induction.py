"""Induction: a circuit that is known passes, and broken ones do not."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import findings, lenses, models
from interp_jax.findings.induction import examine, measures, recipe, verdict
from interp_jax.testing import random_params

SYMBOLS, LONGEST = 12, 5
BOS, LENGTH = SYMBOLS, 2 * LONGEST + 1
VOCAB = SYMBOLS + 1
SHARP = 60.0

CONFIG = models.TransformerConfig(
  vocab_size=VOCAB,
  width=2 * VOCAB + LENGTH,
  layers=2,
  heads=2,
  head_dim=VOCAB,
  context=LENGTH,
  norm='none',
  final_norm=False,
  positions='shortformer',
  attn_only=True,
  qkv_bias=False,
  attn_out_bias=False,
)
MODEL = models.Transformer(CONFIG)


def known_circuit(seed=0):
  """Weights that do induction by construction, in a little noise.

  The stream holds the token, the token before it, and (for queries and keys) the
  position. Head 0.0 looks one back, and writes the token there as the token before;
  head 1.0 looks for its token among the tokens before, and copies.
  """
  noise = random_params(MODEL, seed, std=0.003)
  token, before, place = np.split(np.eye(CONFIG.width), [VOCAB, 2 * VOCAB])
  attn = {name: np.array(leaf) for name, leaf in noise['blocks']['attn'].items()}
  size = min(LENGTH, VOCAB)
  one_back = np.zeros((LENGTH, VOCAB))
  one_back[np.arange(1, size), np.arange(size - 1)] = SHARP
  attn['W_Q'][0, 0] += place.T @ one_back
  attn['W_K'][0, 0] += place.T @ np.eye(LENGTH, VOCAB)
  attn['W_V'][0, 0] += token.T
  attn['W_O'][0, 0] += before
  attn['W_Q'][1, 0] += SHARP * token.T
  attn['W_K'][1, 0] += before.T
  attn['W_V'][1, 0] += token.T
  attn['W_O'][1, 0] += 20 * token
  made = {
    'embed': {'W_E': noise['embed']['W_E'] + token},
    'pos_embed': {'W_pos': noise['pos_embed']['W_pos'] + place},
    'unembed': {'W_U': noise['unembed']['W_U'] + token.T},
    'blocks': {**noise['blocks'], 'attn': attn},
  }
  return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), made)


def layers_swapped(params):
  blocks = jax.tree.map(lambda leaf: leaf[::-1], params['blocks'])
  return {**params, 'blocks': blocks}


def keys_swapped(params):
  """Each head with the keys of the other head of its layer."""
  attn = params['blocks']['attn']
  attn = {**attn, 'W_K': attn['W_K'][:, ::-1]}
  return {**params, 'blocks': {**params['blocks'], 'attn': attn}}


def copying_reversed(params):
  attn = params['blocks']['attn']
  attn = {**attn, 'W_O': attn['W_O'].at[1].multiply(-1)}
  return {**params, 'blocks': {**params['blocks'], 'attn': attn}}


def stacked(*worlds):
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *worlds)


@pytest.fixture(scope='module')
def repeats():
  return lenses.repeated_tokens(8, VOCAB, BOS, (3, LONGEST), seed=3)


@pytest.fixture(scope='module')
def judge(repeats):
  """Params of a two-layer model that came out of training -> name -> quantity."""
  noise = random_params(MODEL, 9, std=0.05)

  def judge(params):
    watched = examine.signs(MODEL, stacked(noise, noise, params, params), repeats)
    worlds = {name: value[:, None] for name, value in watched.items()}
    nothing = {name: value[:1] for name, value in watched.items()}
    everything = {name: value[-1:] for name, value in watched.items()}
    found = examine.circuit(MODEL, params, repeats)
    found = {name: value[None] for name, value in found.items()}
    evidence = verdict.Evidence(
      chance=math.log(SYMBOLS),
      steps=np.array([100, 200, 300, 400]),
      watched=worlds,
      two_layers=found,
      one_layer=nothing,
      absolute=nothing,
      absolute_seen=nothing,
      constant=nothing,
      constant_seen=everything,
      embedded=found,
    )
    return {quantity.name: quantity for quantity in verdict.quantities(evidence)}

  return judge


@pytest.fixture(scope='module')
def known(judge):
  return judge(known_circuit())


def broken(quantities):
  return {name for name, quantity in quantities.items() if not quantity.holds}


def test_a_circuit_that_does_induction_by_construction_has_every_sign(known):
  assert known['prefix_matching'].values[0] > 0.95
  assert known['copying'].values[0] > 0.95
  assert known['repeated_loss'].values[0] < 0.1
  assert known['ablated_above_chance'].values[0] > 0
  assert known['k_composition'].values[0] > 2 * known['q_composition'].values[0]
  assert known['right_token_share'].values[0] > 0.9
  controls = {name for name in known if known[name].control}
  assert not broken(known) - controls


def test_random_weights_have_none(judge):
  lost = broken(judge(random_params(MODEL, 5, std=0.2)))
  assert {
    'prefix_matching',
    'copying',
    'repeated_loss',
    'transition_drop',
    'k_composition_deviations',
    'stdlib_cost',
  } <= lost
  assert not lost & {'path_expansion_single', 'path_expansion_double'}


@pytest.mark.parametrize('broken_by', [layers_swapped, keys_swapped])
def test_heads_that_cannot_work_together_do_no_induction(judge, broken_by):
  lost = broken(judge(broken_by(known_circuit())))
  assert {'prefix_matching', 'repeated_loss', 'transition_drop'} <= lost


def test_a_head_that_nothing_before_it_writes_for_has_no_composition(judge):
  lost = broken(judge(layers_swapped(known_circuit())))
  assert {'k_composition', 'k_composition_deviations'} <= lost


def test_a_head_that_suppresses_what_it_attends_to_does_not_copy(judge):
  lost = broken(judge(copying_reversed(known_circuit())))
  assert {'copying', 'repeated_loss', 'right_token_share'} <= lost
  assert 'prefix_matching' not in lost


def test_pushing_bos_down_is_not_taken_for_a_lack_of_copying(judge):
  params = known_circuit()
  unembedding = params['unembed']['W_U'].at[:, BOS].multiply(-40)
  quantities = judge({**params, 'unembed': {'W_U': unembedding}})
  assert quantities['copying'].values[0] > 0.95
  assert quantities['copying_with_bos'].values[0] < 0


def test_the_circuit_is_found_in_the_known_heads(repeats):
  found = examine.circuit(MODEL, known_circuit(), repeats)
  assert found['writer'].tolist() == [0, 0]
  assert found['reader'].tolist() == [1, 0]
  assert np.argwhere(found['chosen']).tolist() == [[1, 0]]
  np.testing.assert_allclose(found['zero_others'], found['zero_intact'], atol=0.05)


def test_heads_above_a_score_come_best_first_and_are_the_best_if_none_is():
  scores = np.array([[0.1, 0.2, 0.1, 0.0], [0.6, 0.5, 0.7, 0.1]])
  assert measures.heads_above(scores, 0.3) == ((1, 2), (1, 0), (1, 1))
  assert measures.heads_above(scores, 0.9) == ((1, 2),)


def test_where_all_heads_of_a_layer_are_chosen_there_are_no_others(repeats):
  found = measures.ablations(MODEL, known_circuit(), repeats, [(1, 0), (1, 1)])
  assert np.isnan(found.others).all()
  assert (found.chosen != found.intact).all()


def test_a_transition_is_told_from_a_slow_change():
  steps = np.arange(100.0, 2100, 100)
  step_like = np.where(steps < 800, 0.0, 1.0)
  fast = measures.transition(steps, 4 - 3 * step_like, 0.6 * step_like, 300)
  assert (fast.drop, fast.of_loss, fast.of_matching) == (3, 800, 800)
  assert fast.correlation == pytest.approx(-1)
  slow = measures.transition(steps, 4 - steps / 700, steps / 4000, 300)
  assert slow.drop < 0.5
  late = measures.transition(steps, 4 - 3 * step_like, np.roll(step_like, 6), 300)
  assert late.of_matching - late.of_loss != 0


def test_no_period_is_both_in_training_and_in_the_test():
  for quick in (False, True):
    config = recipe.settings(quick)
    trained = config.periods
    tested = range(config.test_periods[0], config.test_periods[1] + 1)
    assert not set(trained) & set(tested)
    assert config.constant_period not in tested


def test_positions_are_in_queries_and_keys_only_but_for_the_control():
  config = recipe.settings(quick=True)
  positions = {
    name: recipe.make_model(config, kind).cfg.positions
    for name, kind in recipe.kinds(config).items()
  }
  assert positions.pop('absolute') == 'learned'
  assert set(positions.values()) == {'shortformer'}


@pytest.mark.slow
def test_a_quick_run_finds_the_circuit(tmp_path, optimized):
  result = findings.reproduce(
    findings.get('induction'), tmp_path, quick=True, seed=1, progress=False
  )
  assert result['finding'] == 'induction'
  found = {quantity['name']: quantity for quantity in result['quantities']}
  # With so little training heads match less than they do in the end.
  assert found['prefix_matching']['worst'] > 0.25
  assert found['repeated_loss']['worst'] < math.log(result['settings']['symbols']) - 0.5
  for name in ('one_layer_matching', 'path_expansion_double', 'stdlib_cost'):
    assert found[name]['holds'], found[name]
